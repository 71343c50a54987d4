package render_test

import (
	"encoding/xml"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"

	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/render"
	"hirewire.dev/notifier/internal/subscription"
)

const payload = `{"id":"evt_01J8","type":"employee.created","timestamp":"2026-11-20T09:00:00.123456Z",` +
	`"data":{"employee":{"id":"emp_01J8","version":3,"given_name":"Zoë <李> & \"co\"","active":true,"manager":null,"tags":["a","b=c"],"9 lives":1.50}}}`

func sample() *event.Event {
	return &event.Event{
		ID: "evt_01J8", Type: "employee.created", EmployeeID: "emp_01J8", Version: 3,
		OccurredAt: time.Date(2026, 11, 20, 9, 0, 0, 123456000, time.UTC), Payload: []byte(payload),
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	const thin = `{"id":"evt_01J8","type":"employee.created","timestamp":"2026-11-20T09:00:00.123456Z","data":{"employee":{"id":"emp_01J8","version":3}}}`
	data := payload[strings.Index(payload, `"data":`)+7 : len(payload)-1]
	for _, tt := range []struct {
		payload           subscription.Payload
		format            subscription.Format
		want, contentType string
	}{
		{subscription.Full, subscription.Standard, payload, "application/json"},
		{subscription.Thin, subscription.Standard, thin, "application/json"},
		{subscription.Full, subscription.CloudEvents, `{"specversion":"1.0","id":"evt_01J8","source":"/hirewire/notifier","type":"employee.created","subject":"emp_01J8","time":"2026-11-20T09:00:00.123456Z","datacontenttype":"application/json","data":` + data + `}`, "application/cloudevents+json"},
		{subscription.Full, subscription.Form, "id=evt_01J8&type=employee.created&timestamp=2026-11-20T09%3A00%3A00.123456Z&data.employee.id=emp_01J8&data.employee.version=3&data.employee.given_name=Zo%C3%AB+%3C%E6%9D%8E%3E+%26+%22co%22&data.employee.active=true&data.employee.manager=&data.employee.tags.0=a&data.employee.tags.1=b%3Dc&data.employee.9+lives=1.50", "application/x-www-form-urlencoded"},
		{subscription.Thin, subscription.XML, `<?xml version="1.0" encoding="UTF-8"?>
<event><id>evt_01J8</id><type>employee.created</type><timestamp>2026-11-20T09:00:00.123456Z</timestamp><data><employee><id>emp_01J8</id><version>3</version></employee></data></event>
`, "application/xml"},
		{subscription.Full, subscription.XML, `<?xml version="1.0" encoding="UTF-8"?>
<event><id>evt_01J8</id><type>employee.created</type><timestamp>2026-11-20T09:00:00.123456Z</timestamp><data><employee><id>emp_01J8</id><version>3</version><given_name>Zoë &lt;李&gt; &amp; &#34;co&#34;</given_name><active>true</active><manager></manager><tags><item>a</item><item>b=c</item></tags><member name="9 lives">1.50</member></employee></data></event>
`, "application/xml"},
	} {
		for range 3 { // the same bytes on every attempt
			body, contentType, err := render.Body(sample(), tt.payload, tt.format)
			if err != nil {
				t.Fatalf("%s %s: %v", tt.payload, tt.format, err)
			}
			if diff := cmp.Diff(tt.want, string(body)); diff != "" {
				t.Errorf("%s %s: %s", tt.payload, tt.format, diff)
			}
			if contentType != tt.contentType {
				t.Errorf("%s %s: content type %s", tt.payload, tt.format, contentType)
			}
		}
	}
}

func TestFullStandardBodyIsTheStoredBytes(t *testing.T) {
	t.Parallel()
	e := sample()
	body, _, err := render.Body(e, subscription.Full, subscription.Standard)
	if err != nil || &body[0] != &e.Payload[0] {
		t.Errorf("the payload was copied or rewritten (%v)", err)
	}
}

// CloudEvents' own SDK reads and validates what we write.
func TestCloudEventIsValidForThePublicSDK(t *testing.T) {
	t.Parallel()
	for _, p := range []subscription.Payload{subscription.Full, subscription.Thin} {
		body, contentType, err := render.Body(sample(), p, subscription.CloudEvents)
		if err != nil {
			t.Fatal(err)
		}
		if contentType != cloudevents.ApplicationCloudEventsJSON {
			t.Errorf("content type %s", contentType)
		}
		var ce cloudevents.Event
		if err := ce.UnmarshalJSON(body); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if err := ce.Validate(); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		var data struct {
			Employee struct {
				ID      string
				Version int
			}
		}
		if err := ce.DataAs(&data); err != nil {
			t.Fatal(err)
		}
		if ce.ID() != "evt_01J8" || ce.Type() != "employee.created" || ce.Subject() != "emp_01J8" || !ce.Time().Equal(sample().OccurredAt) || data.Employee.ID != "emp_01J8" || data.Employee.Version != 3 {
			t.Errorf("read as %v", ce)
		}
	}
}

func TestThinHoldsNothingPersonal(t *testing.T) {
	t.Parallel()
	for _, f := range []subscription.Format{subscription.Standard, subscription.CloudEvents, subscription.Form, subscription.XML} {
		body, _, err := render.Body(sample(), subscription.Thin, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, personal := range []string{"Zo", "given_name", "manager", "tags"} {
			if strings.Contains(string(body), personal) {
				t.Errorf("%s: %s", f, body)
			}
		}
	}
}

func TestEventsAboutNobodyStayWhole(t *testing.T) {
	t.Parallel()
	e := &event.Event{ID: "evt_1", Type: "webhook.test", Payload: []byte(`{"id":"evt_1","type":"webhook.test","timestamp":"2026-11-20T09:00:00.000000Z","data":{"message":"hello"}}`)}
	body, _, err := render.Body(e, subscription.Thin, subscription.Standard)
	if err != nil || string(body) != string(e.Payload) {
		t.Errorf("%s, %v", body, err)
	}
}

func TestErasedEvents(t *testing.T) {
	t.Parallel()
	e := sample()
	e.Payload = nil
	if _, _, err := render.Body(e, subscription.Full, subscription.XML); !errors.Is(err, render.ErrErased) {
		t.Errorf("full: %v", err)
	}
	if _, _, err := render.Body(e, subscription.Thin, subscription.XML); err != nil {
		t.Errorf("thin needs no payload: %v", err)
	}
}

func TestBodyRefusesWhatIsNoJSON(t *testing.T) {
	t.Parallel()
	for _, broken := range []string{``, `{`, `{"a":1} x`, strings.Repeat("[", 100) + strings.Repeat("]", 100)} {
		for _, f := range []subscription.Format{subscription.Form, subscription.XML} {
			e := sample()
			e.Payload = []byte(broken)
			if _, _, err := render.Body(e, subscription.Full, f); err == nil {
				t.Errorf("%s of %q: no error", f, broken)
			}
		}
	}
	if _, _, err := render.Body(sample(), subscription.Full, "YAML"); err == nil {
		t.Error("an unknown format: no error")
	}
}

// Whatever is published, the receiver's parser can read it.
func FuzzFormats(f *testing.F) {
	f.Add(payload)
	f.Add(`{"<a>":"\u0000","xmlns":[[],{}],"":"\ud800"}`)
	f.Fuzz(func(t *testing.T, document string) {
		e := sample()
		e.Payload = []byte(document)
		if body, _, err := render.Body(e, subscription.Full, subscription.XML); err == nil {
			var any struct {
				XMLName xml.Name
			}
			if err := xml.Unmarshal(body, &any); err != nil {
				t.Fatalf("%q: %v", body, err)
			}
		}
		if body, _, err := render.Body(e, subscription.Full, subscription.Form); err == nil {
			if _, err := url.ParseQuery(string(body)); err != nil {
				t.Fatalf("%q: %v", body, err)
			}
		}
	})
}

func BenchmarkBody(b *testing.B) {
	for _, f := range []subscription.Format{subscription.Standard, subscription.CloudEvents, subscription.Form, subscription.XML} {
		b.Run(string(f), func(b *testing.B) {
			e := sample()
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := render.Body(e, subscription.Full, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
