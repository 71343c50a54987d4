package notifier_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// fact is an event about an employee, as a publisher makes it.
func fact(t *testing.T, employee string, version int, edit func(e *notifierv1.Event)) *notifierv1.Event {
	t.Helper()
	data, err := structpb.NewStruct(map[string]any{"employee": map[string]any{
		"id": employee, "employee_number": "N-" + employee, "given_name": "Zoë", "family_name": "Łukasz <b>", "email": "zoe@example.test", "country": "DE", "currency": "EUR",
		"version": version,
	}})
	if err != nil {
		t.Fatal(err)
	}
	typ := "employee.updated"
	if version == 1 {
		typ = "employee.created"
	}
	e := &notifierv1.Event{Id: id.New("evt"), Type: typ, Timestamp: timestamppb.Now(), Data: data}
	if edit != nil {
		edit(e)
	}
	return e
}

// publish publishes as the publisher.
func (c *client) publish(t *testing.T, events ...*notifierv1.Event) {
	t.Helper()
	got, err := c.PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: events})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, e := range events {
		want = append(want, e.GetId())
	}
	if diff := cmp.Diff(want, got.GetEventIds()); diff != "" {
		t.Error(diff)
	}
}

// feed reads all events that the caller sees.
func (c *client) feed(t *testing.T, req *notifierv1.ListEventsRequest) (ids []string, token string) {
	t.Helper()
	for {
		page, err := c.ListEvents(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.GetEvents() {
			ids = append(ids, e.GetId())
		}
		req.PageToken = page.GetNextPageToken()
		if req.PageToken == "" {
			t.Fatal("a page without a token to go on from")
		}
		if !page.GetHasMore() {
			return ids, req.PageToken
		}
	}
}

func set(path string, v any) func(*notifierv1.Event) {
	return func(e *notifierv1.Event) {
		s := e.GetData()
		steps := strings.Split(path, ".")
		for _, step := range steps[:len(steps)-1] {
			s = s.GetFields()[step].GetStructValue()
		}
		value, err := structpb.NewValue(v)
		if err != nil {
			panic(err)
		}
		s.Fields[steps[len(steps)-1]] = value
	}
}

// What must be refused, with the path of the field and nothing stored. CWE-20.
func TestPublishRefuses(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, admin := n.as(t, "publisher"), n.as(t, "admin")
		typ := func(name string) func(*notifierv1.Event) { return func(e *notifierv1.Event) { e.Type = name } }
		eventID := func(v string) func(*notifierv1.Event) { return func(e *notifierv1.Event) { e.Id = v } }
		at := func(stamp *timestamppb.Timestamp) func(*notifierv1.Event) {
			return func(e *notifierv1.Event) { e.Timestamp = stamp }
		}
		for name, tt := range map[string]struct {
			edit  func(*notifierv1.Event)
			code  codes.Code
			field string
		}{
			"id empty":                    {eventID(""), codes.InvalidArgument, "events[1].id"},
			"id of 65":                    {eventID(strings.Repeat("a", 65)), codes.InvalidArgument, "events[1].id"},
			"id with a dot":               {eventID("evt.1"), codes.InvalidArgument, "events[1].id"},
			"id Unicode":                  {eventID("évt_1"), codes.InvalidArgument, "events[1].id"},
			"id with a line break":        {eventID("evt_1\r\n"), codes.InvalidArgument, "events[1].id"},
			"type empty":                  {typ(""), codes.InvalidArgument, "events[1].type"},
			"type of one segment":         {typ("employee"), codes.InvalidArgument, "events[1].type"},
			"type with two dots":          {typ("employee..created"), codes.InvalidArgument, "events[1].type"},
			"type with a space":           {typ("employee.created "), codes.InvalidArgument, "events[1].type"},
			"type with other characters":  {typ("employee-created!"), codes.InvalidArgument, "events[1].type"},
			"type Unicode":                {typ("employé.créé"), codes.InvalidArgument, "events[1].type"},
			"type unknown":                {typ("employee.promoted"), codes.InvalidArgument, "events[1].type"},
			"type pattern":                {typ("employee.*"), codes.InvalidArgument, "events[1].type"},
			"type reserved: notifier":     {typ("notifier.started"), codes.PermissionDenied, ""},
			"type reserved: webhook":      {typ("webhook.test"), codes.PermissionDenied, ""},
			"type reserved: subscription": {typ("subscription.failing"), codes.PermissionDenied, ""},
			"timestamp absent":            {at(nil), codes.InvalidArgument, "events[1].timestamp"},
			"timestamp in an hour":        {at(timestamppb.New(time.Now().Add(time.Hour))), codes.InvalidArgument, "events[1].timestamp"},
			"nanos -1":                    {at(&timestamppb.Timestamp{Seconds: time.Now().Unix(), Nanos: -1}), codes.InvalidArgument, "events[1].timestamp"},
			"nanos 1e9":                   {at(&timestamppb.Timestamp{Seconds: time.Now().Unix(), Nanos: 1e9}), codes.InvalidArgument, "events[1].timestamp"},
			"seconds 1<<60":               {at(&timestamppb.Timestamp{Seconds: 1 << 60}), codes.InvalidArgument, "events[1].timestamp"},
			"31 days old":                 {at(timestamppb.New(time.Now().AddDate(0, 0, -31))), codes.FailedPrecondition, ""},
			"data absent":                 {func(e *notifierv1.Event) { e.Data = nil }, codes.InvalidArgument, "events[1].data"},
			"data empty":                  {func(e *notifierv1.Event) { e.Data = &structpb.Struct{} }, codes.InvalidArgument, "events[1].data.employee"},
			"employee a list":             {set("employee", []any{}), codes.InvalidArgument, "events[1].data.employee"},
			"employee null":               {set("employee", nil), codes.InvalidArgument, "events[1].data.employee"},
			"employee id missing":         {func(e *notifierv1.Event) { delete(e.Data.Fields["employee"].GetStructValue().Fields, "id") }, codes.InvalidArgument, "events[1].data.employee.id"},
			"version 0":                   {set("employee.version", 0), codes.InvalidArgument, "events[1].data.employee.version"},
			"version negative":            {set("employee.version", -1), codes.InvalidArgument, "events[1].data.employee.version"},
			"version NaN":                 {set("employee.version", math.NaN()), codes.InvalidArgument, "events[1].data.employee.version"},
			"version infinite":            {set("employee.version", math.Inf(1)), codes.InvalidArgument, "events[1].data.employee.version"},
			"version half":                {set("employee.version", 1.5), codes.InvalidArgument, "events[1].data.employee.version"},
			"version a string":            {set("employee.version", "1"), codes.InvalidArgument, "events[1].data.employee.version"},
			"a field outside: ssn":        {set("employee.ssn", "078-05-1120"), codes.InvalidArgument, "events[1].data.employee.ssn"},
			"a field outside: iban":       {set("employee.iban", "DE02"), codes.InvalidArgument, "events[1].data.employee.iban"},
			"another member":              {set("tenant", "x"), codes.InvalidArgument, "events[1].data.tenant"},
			"256 KiB and one":             {set("employee.given_name", strings.Repeat("x", 256<<10)), codes.ResourceExhausted, ""},
			"traceparent of no trace":     {func(e *notifierv1.Event) { e.Traceparent = "00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01" }, codes.InvalidArgument, "events[1].traceparent"},
			"traceparent of no span": {func(e *notifierv1.Event) {
				e.Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-" + strings.Repeat("0", 16) + "-01"
			}, codes.InvalidArgument, "events[1].traceparent"},
			"NUL in a name":      {set("employee.given_name", "Zo\x00"), codes.InvalidArgument, "events[1].data.employee.given_name"},
			"traceparent broken": {func(e *notifierv1.Event) { e.Traceparent = "00-x\r\nx: y" }, codes.InvalidArgument, "events[1].traceparent"},
		} {
			_, err := pub.PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{fact(t, "emp_1", 1, nil), fact(t, "emp_1", 2, tt.edit)}})
			if status.Code(err) != tt.code || fieldOf(err) != tt.field {
				t.Errorf("%s: %v (field %q), want %s of %q", name, err, fieldOf(err), tt.code, tt.field)
			}
			if strings.Contains(err.Error(), "078-05") || len(err.Error()) > 2000 {
				t.Errorf("%s: the answer repeats what was sent: %.200s", name, err)
			}
		}
		// Whole calls.
		twin := fact(t, "emp_1", 1, nil)
		many := make([]*notifierv1.Event, 1001)
		for i := range many {
			many[i] = &notifierv1.Event{}
		}
		for name, tt := range map[string]struct {
			events []*notifierv1.Event
			code   codes.Code
		}{
			"nothing":          {nil, codes.InvalidArgument},
			"1,001":            {many, codes.ResourceExhausted},
			"the same id":      {[]*notifierv1.Event{twin, fact(t, "emp_2", 1, nil), twin}, codes.InvalidArgument},
			"an empty event":   {[]*notifierv1.Event{{}}, codes.InvalidArgument},
			"too large a call": {[]*notifierv1.Event{fact(t, "emp_1", 1, set("employee.given_name", strings.Repeat("x", 5<<20)))}, codes.ResourceExhausted},
		} {
			_, err := pub.PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: tt.events})
			wantCode(t, name, err, tt.code)
		}
		// Roles.
		for _, role := range []string{"viewer", "bank-a"} {
			_, err := n.as(t, role).PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{twin}})
			wantCode(t, role, err, codes.PermissionDenied)
		}
		_, err := n.withKey(t, "").PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{twin}})
		wantCode(t, "nobody", err, codes.Unauthenticated)
		if ids, _ := admin.feed(t, &notifierv1.ListEventsRequest{}); len(ids) != 0 {
			t.Errorf("stored: %v", ids)
		}
	})
}

// fieldOf is the first field that an error names.
func fieldOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok && len(bad.GetFieldViolations()) > 0 {
			return bad.GetFieldViolations()[0].GetField()
		}
	}
	return ""
}

func TestPublishRefusesOverREST(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db"))
	pub, admin := n.as(t, "publisher"), n.as(t, "admin")
	good := func(edit func(string) string) string {
		text := fmt.Sprintf(`{"events":[{"id":"evt_rest","type":"employee.created","timestamp":%q,"data":{"employee":{"id":"emp_1","version":1}}}]}`, time.Now().UTC().Format(time.RFC3339))
		return edit(text)
	}
	swap := func(from, to string) string {
		return good(func(s string) string { return strings.Replace(s, from, to, 1) })
	}
	year := fmt.Sprint(time.Now().UTC().Year())
	for name, body := range map[string]string{
		"empty":             "",
		"null":              "null",
		"a list":            "[]",
		"no events":         `{"events":[]}`,
		"trailing":          good(func(s string) string { return s + " {}" }),
		"unknown field":     swap(`"id":"evt_rest"`, `"id":"evt_rest","priority":-1`),
		"webhook-timestamp": swap(`"id":"evt_rest"`, `"id":"evt_rest","webhook-timestamp":"1"`),
		"duplicate key":     swap(`"id":"evt_rest"`, `"id":"evt_rest","id":"evt_2"`),
		"duplicate in data": swap(`"version":1`, `"version":1,"version":2`),
		"data a list":       swap(`{"employee":{"id":"emp_1","version":1}}`, `[]`),
		"data a number":     swap(`{"employee":{"id":"emp_1","version":1}}`, `7`),
		"data null":         swap(`{"employee":{"id":"emp_1","version":1}}`, `null`),
		"NaN":               swap(`"version":1`, `"version":NaN`),
		"1e400":             swap(`"version":1`, `"version":1e400`),
		"lone surrogate":    swap(`emp_1`, `\ud800`),
		"invalid UTF-8":     swap(`emp_1`, "\xc3\x28"),
		"leap second":       swap(`"timestamp":"`+year, `"timestamp":"2026-12-31T23:59:60Z","x":"`),
		"lower-case t":      good(func(s string) string { return strings.Replace(strings.Replace(s, "T", "t", 1), "Z", "z", 1) }),
		"UTF-16":            "\xff\xfe{\x00}\x00",
	} {
		code, answer := pub.rest(t, "POST", "/v1/events:publish", body)
		if code != 400 {
			t.Errorf("%s: %d %v", name, code, answer)
		}
	}
	if code, answer := pub.rest(t, "POST", "/v1/events:publish", good(func(s string) string { return s })); code != 200 {
		t.Errorf("a good one: %d %v", code, answer)
	}
	code, answer := admin.rest(t, "GET", "/v1/events/evt_rest", "")
	if text, _ := json.Marshal(answer["data"]); code != 200 || string(text) != `{"employee":{"id":"emp_1","version":1}}` || answer["employee_id"] != "emp_1" || answer["version"] != 1.0 {
		t.Errorf("read back: %d %v", code, answer)
	}
	code, answer = admin.rest(t, "GET", "/v1/events?page_size=10", "")
	if list, _ := answer["events"].([]any); code != 200 || len(list) != 1 || answer["next_page_token"] == "" || answer["has_more"] != false {
		t.Errorf("listed: %d %v", code, answer)
	}
	code, answer = n.as(t, "viewer").rest(t, "GET", "/v1/eventTypes", "")
	if list, _ := answer["event_types"].([]any); code != 200 || len(list) != 3 {
		t.Errorf("types: %d %v", code, answer)
	}
}

// F49, F50: the same event again is no harm; the same id with other content is refused, and the first is kept.
func TestPublishIsIdempotent(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, admin := n.as(t, "publisher"), n.as(t, "admin")
		b := newBank(t)
		sub := n.as(t, "bank-a").subscribe(t, b, nil)
		e := fact(t, "emp_1", 1, nil)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := pub.PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{e}}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		other := fact(t, "emp_1", 2, func(o *notifierv1.Event) { o.Id = e.GetId() })
		_, err := pub.PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{fact(t, "emp_9", 1, nil), other}})
		wantField(t, "another body", err, codes.AlreadyExists, "events[1].id")
		upper := fact(t, "emp_2", 1, func(o *notifierv1.Event) { o.Id = strings.ToLower(e.GetId()) })
		pub.publish(t, upper) // case matters: it is another event
		got, err := admin.GetEvent(t.Context(), &notifierv1.GetEventRequest{Id: e.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		want := fact(t, "emp_1", 1, nil)
		want.Id, want.EmployeeId, want.Version = e.GetId(), "emp_1", 1
		if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(want, "timestamp", "received_at")); diff != "" {
			t.Error(diff)
		}
		if d := got.GetTimestamp().AsTime().Sub(e.GetTimestamp().AsTime()); d > 0 || d < -time.Microsecond {
			t.Errorf("its time moved by %s", d)
		}
		if ids, _ := admin.feed(t, &notifierv1.ListEventsRequest{}); len(ids) != 2 {
			t.Errorf("stored: %v", ids)
		}
		eventually(t, "both are delivered", 5*time.Second, func() bool { return len(b.seen()) == 2 })
		balanced(t, admin, sub.GetId(), 2)
	})
}

// balanced waits until everything is delivered, and says that the balance adds up to n.
func balanced(t *testing.T, c *client, sub string, n int64) {
	t.Helper()
	var b *notifierv1.Balance
	eventually(t, "everything is delivered", 10*time.Second, func() bool {
		var err error
		if b, err = c.GetBalance(t.Context(), &notifierv1.GetBalanceRequest{SubscriptionId: sub}); err != nil {
			t.Fatal(err)
		}
		return b.GetPending() == 0
	})
	if b.GetFannedOut() != n || b.GetDelivered() != n || b.GetFannedOut() != b.GetDelivered()+b.GetPending()+b.GetDead()+b.GetCancelled() {
		t.Errorf("balance %v, want %d delivered", b, n)
	}
}

func TestEventTypesHaveSchemas(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db"))
	got, err := n.as(t, "bank-a").ListEventTypes(t.Context(), &notifierv1.ListEventTypesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range got.GetEventTypes() {
		if typ.GetVersion() != 1 || typ.GetDescription() == "" || typ.GetSchema().GetFields()["properties"].GetStructValue().GetFields()["employee"] == nil {
			t.Errorf("%v", typ)
		}
	}
	if len(got.GetEventTypes()) != 3 {
		t.Errorf("%d types", len(got.GetEventTypes()))
	}
}
