package webhook_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/webhook"
)

func TestParseEvent(t *testing.T) {
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		body string
		want webhook.Event
	}{
		"all": {
			`{"id":"evt_1","type":"employee.created","timestamp":"2026-11-20T09:00:00Z","data":{"a":[1,-0.5e3,true,null,"\ud83d\ude00"]}}`,
			webhook.Event{ID: "evt_1", Type: "employee.created", Timestamp: at, Data: json.RawMessage(`{"a":[1,-0.5e3,true,null,"\ud83d\ude00"]}`)},
		},
		"without id, in another order, with white space": {
			" {\n\t\"data\" : { } , \"timestamp\":\"2026-11-20T10:00:00+01:00\",\r\"type\":\"ping\" } ",
			webhook.Event{Type: "ping", Timestamp: at, Data: json.RawMessage(`{ }`)},
		},
		"with members of its own": {
			`{"type":"a","timestamp":"2026-11-20T09:00:00.0000009Z","data":{},"version":[1],"Type":"b"}`,
			webhook.Event{Type: "a", Timestamp: at, Data: json.RawMessage(`{}`)},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := webhook.ParseEvent([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Many names in one object are compared by a map, not pair by pair.
func TestParseEventManyNames(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, `"k%d":{"a":{},"b":{}},`, i)
	}
	body := func(last string) []byte {
		return []byte(`{"type":"a","timestamp":"2026-11-20T09:00:00Z","data":{` + b.String() + `"` + last + `":1}}`)
	}
	start := time.Now()
	if _, err := webhook.ParseEvent(body("last")); err != nil {
		t.Error(err)
	}
	if _, err := webhook.ParseEvent(body("k7")); !errors.Is(err, webhook.ReasonDuplicateKey) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestErrorsName(t *testing.T) {
	_, err := webhook.ParseEvent([]byte(`{"type":"a","timestamp":"2026-11-20T09:00:00Z"}`))
	if err == nil || err.Error() != "missing_field: data" || webhook.ReasonOf(err) != webhook.ReasonMissingField {
		t.Errorf("got %v", err)
	}
	if webhook.ReasonOf(errors.New("x")) != "" || webhook.ReasonOf(nil) != "" {
		t.Error("a reason from nowhere")
	}
	seen := map[webhook.Reason]bool{}
	for _, r := range webhook.Reasons() {
		if seen[r] {
			t.Errorf("%s twice", r)
		}
		seen[r] = true
	}
}

// FuzzParseEvent checks the strict reader against encoding/json: what it takes
// is JSON and means the same there, and what encoding/json refuses it refuses.
func FuzzParseEvent(f *testing.F) {
	f.Add(goodBody)
	for _, s := range []string{
		`{"type":"a","timestamp":"2026-11-20T09:00:00Z","data":{"\u0061":"\ud83d\ude00","b":[{}]}}`,
		`{"a":1,"a":2}`, `{"a":"\ud800"}`, `[]`, `{"a":-0}`, `{"a":1e999}`, `{"a":01}`, `{"a":1.}`, "{\"a\":\"\x80\"}", `{"a":tru}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		event, err := webhook.ParseEvent(body)
		if !bytes.Equal(before, body) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			if webhook.ReasonOf(err) == "" {
				t.Fatalf("%v has no reason", err)
			}
			if json.Valid(body) && strings.HasPrefix(err.Error(), "invalid_json: at byte") && !bytes.Contains(body, []byte(`\u`)) {
				t.Fatalf("valid JSON is refused: %v", err)
			}
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("not JSON: %v", err)
		}
		var kind string
		if err := json.Unmarshal(members["type"], &kind); err != nil || kind != event.Type {
			t.Fatalf("type is %q here and %q there", event.Type, kind)
		}
		if !bytes.Equal(members["data"], event.Data) {
			t.Fatalf("data is %s here and %s there", event.Data, members["data"])
		}
		if event.ID != "" && !webhook.ValidID(event.ID) {
			t.Fatalf("id %q", event.ID)
		}
	})
}
