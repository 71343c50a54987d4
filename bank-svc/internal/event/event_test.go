package event

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/webhook"
)

const emp = "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4"

const full = `{"employee":{"id":"` + emp + `","employee_number":"E1","given_name":"Zoë","family_name":"李","email":"z@x.test",
	"currency":"EUR","country":"DE","status":"ACTIVE","version":3}}`

func ev(typ, data string) webhook.Event {
	return webhook.Event{ID: "evt_1", Type: typ, Data: json.RawMessage(data)}
}

func TestParse(t *testing.T) {
	state := &account.Employee{ID: emp, HolderName: "Zoë 李", Currency: "EUR", Version: 3}
	left := *state
	left.Terminated = true
	joined := *state
	joined.HolderName = "می\u200cخواهم 李"
	for _, tc := range []struct {
		name, typ, data string
		want            account.Change
	}{
		{"full", Created, full, account.Change{State: state}},
		{"update", Updated, full, account.Change{State: state}},
		{"end", Terminated, strings.ReplaceAll(full, "ACTIVE", "TERMINATED"), account.Change{State: &left, Terminated: true}},
		{"thin", Updated, `{"employee":{"id":"` + emp + `","version":3}}`, account.Change{}},
		{"thin end", Terminated, `{"employee":{"version":3,"id":"` + emp + `"}}`, account.Change{Terminated: true}},
		{"joiner in a name", Created, strings.ReplaceAll(full, `Zoë`, `می\u200cخواهم`), account.Change{State: &joined}},
		{"names of another case are other names", Created, strings.ReplaceAll(full, `"version":3`, `"version":3,"Version":9,"STATUS":"x"`), account.Change{State: state}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.EventID, tc.want.EmployeeID, tc.want.Version = "evt_1", emp, 3
			got, err := Parse(ev(tc.typ, tc.data))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseOther(t *testing.T) {
	for _, typ := range []string{"webhook.test", "employee.promoted", "invoice.created", "Employee.created"} {
		if _, err := Parse(ev(typ, full)); !errors.Is(err, ErrOther) {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

func TestParseInvalid(t *testing.T) {
	for name, tc := range map[string]struct{ data, field string }{
		"no employee":           {`{}`, "data.employee"},
		"null employee":         {`{"employee":null}`, "data.employee"},
		"list":                  {`{"employee":[]}`, "data.employee"},
		"no id":                 {`{"employee":{"version":1}}`, "data.employee.id"},
		"UUID":                  {strings.ReplaceAll(full, emp, "3f0f7a2e-0000-4000-8000-000000000000"), "data.employee.id"},
		"id is a number":        {`{"employee":{"id":7,"version":1}}`, "data.employee.id"},
		"no version":            {`{"employee":{"id":"` + emp + `"}}`, "data.employee.version"},
		"version 0":             {strings.ReplaceAll(full, `:3}`, `:0}`), "data.employee.version"},
		"version 1e400":         {strings.ReplaceAll(full, `:3}`, `:1e400}`), "data.employee.version"},
		"version 1.5":           {strings.ReplaceAll(full, `:3}`, `:1.5}`), "data.employee.version"},
		"version is a text":     {strings.ReplaceAll(full, `:3}`, `:"3"}`), "data.employee.version"},
		"version 2^63":          {strings.ReplaceAll(full, `:3}`, `:9223372036854775808}`), "data.employee.version"},
		"no status":             {strings.ReplaceAll(full, `"status":"ACTIVE",`, ``), "data.employee.status"},
		"unknown status":        {strings.ReplaceAll(full, `ACTIVE`, `ASLEEP`), "data.employee.status"},
		"null name":             {strings.ReplaceAll(full, `"Zoë"`, `null`), "data.employee.given_name"},
		"blank name":            {strings.ReplaceAll(full, `"Zoë"`, `" \u00a0"`), "data.employee.given_name"},
		"control character":     {strings.ReplaceAll(full, `"Zoë"`, `"Z\u001b[31m"`), "data.employee.given_name"},
		"joiner for a name":     {strings.ReplaceAll(full, `"Zoë"`, `"\u200d"`), "data.employee.given_name"},
		"filler for a name":     {strings.ReplaceAll(full, `"Zoë"`, `"\u3164"`), "data.employee.given_name"},
		"blank Braille":         {strings.ReplaceAll(full, `"Zoë"`, `"\u2800"`), "data.employee.given_name"},
		"selector for a name":   {strings.ReplaceAll(full, `"Zoë"`, `"\ufe0f"`), "data.employee.given_name"},
		"mark for a name":       {strings.ReplaceAll(full, `"Zoë"`, `"\u0301"`), "data.employee.given_name"},
		"right-to-left":         {strings.ReplaceAll(full, `李`, `A\u202eda`), "data.employee.family_name"},
		"isolate":               {strings.ReplaceAll(full, `李`, `A\u2066da`), "data.employee.family_name"},
		"line separator":        {strings.ReplaceAll(full, `李`, `A\u2028da`), "data.employee.family_name"},
		"256 runes":             {strings.ReplaceAll(full, `李`, strings.Repeat("李", 256)), "data.employee.family_name"},
		"currency in lower":     {strings.ReplaceAll(full, `EUR`, `eur`), "data.employee.currency"},
		"currency is not there": {strings.ReplaceAll(full, `"currency":"EUR",`, ``), "data.employee.currency"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(ev(Created, tc.data))
			invalid, ok := errors.AsType[*InvalidError](err)
			if !ok || invalid.Field != tc.field {
				t.Errorf("%v", err)
			}
		})
	}
}

// The walker sees in valid JSON what encoding/json does.
func FuzzMembers(f *testing.F) {
	for _, text := range []string{full, `{}`, ` { "a" : [1, {"b":"}"}] , "c\u0041" :null,"":"\"" } `, `[]`, `"{"`, `{"a":{"b":{}}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, valid := map[string]string{}, json.Valid([]byte(text))
		isObject := members([]byte(text), func(name, value []byte) { got[string(name)] = string(value) })
		if !valid {
			return // whatever it sees, it ends
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &want); (err == nil && want != nil) != isObject {
			t.Fatalf("object: %v, %v", isObject, err)
		}
		if !isObject {
			return
		}
		for name, value := range want {
			if got[name] != string(value) && utf8.ValidString(text) {
				t.Errorf("%q is %q, want %q", name, got[name], value)
			}
		}
		if utf8.ValidString(text) && len(got) != len(want) {
			t.Errorf("%d members, want %d", len(got), len(want))
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(Created, full)
	f.Add(Updated, `{"employee":{"id":"`+emp+`","version":3}}`)
	f.Add(Terminated, `{"employee":{"version":1e3}}`)
	f.Fuzz(func(t *testing.T, typ, data string) {
		c, err := Parse(ev(typ, data))
		if err != nil {
			return
		}
		if c.EmployeeID == "" || c.Version < 1 || c.State != nil && (c.State.HolderName == "" || len(c.State.Currency) != 3) {
			t.Errorf("%+v", c)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	e := ev(Created, full)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(e); err != nil {
			b.Fatal(err)
		}
	}
}
