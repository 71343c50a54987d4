package event_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/notifier/internal/event"
)

func TestPayload(t *testing.T) {
	at := time.Date(2026, 11, 20, 10, 0, 0, 123456789, time.FixedZone("CET", 3600))
	e := event.New("evt_1", "employee.created", at, map[string]any{
		"employee": map[string]any{"version": 3, "id": "emp_1", "given_name": `Zoë "Z" <李>`, "tags": []any{"a", nil, true, 1.5, false}},
	})
	want := `{"id":"evt_1","type":"employee.created","timestamp":"2026-11-20T09:00:00.123456Z","data":` +
		`{"employee":{"given_name":"Zoë \"Z\" <李>","id":"emp_1","tags":["a",null,true,1.5,false],"version":3}}}`
	if diff := cmp.Diff(want, string(e.Payload)); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
	if e.EmployeeID != "emp_1" || e.Version != 3 || !e.OccurredAt.Equal(at.Truncate(time.Microsecond)) {
		t.Errorf("event %+v", e)
	}
	employee, _ := e.Data()["employee"].(map[string]any)
	if employee["id"] != "emp_1" || employee["version"] != 3.0 {
		t.Errorf("data %v", e.Data())
	}
	if e.Payload = nil; e.Data() != nil {
		t.Error("data of an erased event")
	}
}

func TestTimes(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC), "2026-11-20T09:00:00Z"},
		{time.Date(2026, 11, 20, 9, 0, 0, 120_000_000, time.UTC), "2026-11-20T09:00:00.12Z"},
		{time.Date(2026, 11, 20, 9, 0, 0, 999, time.UTC), "2026-11-20T09:00:00Z"},
		{time.Date(2026, 11, 20, 1, 0, 0, 1000, time.FixedZone("", -8*3600)), "2026-11-20T09:00:00.000001Z"},
	} {
		if got := string(event.AppendTime(nil, c.at)); got != c.want {
			t.Errorf("%v is %s, want %s", c.at, got, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, f := range []float64{
		0, math.Copysign(0, -1), 1, -1, 0.1, 1.5, 1e15, 1e15 - 1, -1e15, 1 << 53, 1<<53 - 1, 1e20, 1e21, 1e22, 1e-6, 1e-7, 1.234e-9, 123456.789,
		math.MaxFloat64, math.SmallestNonzeroFloat64, math.MaxInt64, math.MinInt64,
	} {
		want, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(event.AppendNumber(nil, f)); got != string(want) {
			t.Errorf("%v is %s, want %s", f, got, want)
		}
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if got := string(event.AppendNumber(nil, f)); got != "null" {
			t.Errorf("%v is %s", f, got)
		}
	}
}

func TestSameValueSameBytes(t *testing.T) {
	a := map[string]any{}
	for i := range 40 {
		a[string(rune('a'+i))] = map[string]any{"x": i, "y": "z"}
	}
	want := string(event.AppendValue(nil, a))
	for range 20 {
		if got := string(event.AppendValue(nil, a)); got != want {
			t.Fatalf("%s\n%s", got, want)
		}
	}
}

func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "Zoë 李 🙂", "\u2028\u2029", "\xff\xc3(", "a\xe2\x82"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := event.AppendString([]byte("x"), s)
		if !utf8.Valid(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		var back string
		if err := json.Unmarshal(got[1:], &back); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		var want string // what encoding/json makes of it: every bad byte is one U+FFFD
		b, _ := json.Marshal(s)
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		if back != want {
			t.Errorf("%q came back as %q, want %q", s, back, want)
		}
	})
}

func FuzzNumber(f *testing.F) {
	f.Add(1.5)
	f.Add(1e300)
	f.Fuzz(func(t *testing.T, n float64) {
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return
		}
		want, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(event.AppendNumber(nil, n)); got != string(want) {
			t.Errorf("%v is %s, want %s", n, got, want)
		}
	})
}

var employee = map[string]any{"employee": map[string]any{
	"id": "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", "version": 1.0, "given_name": "Zoë", "family_name": "Quartermaine", "email": "zoe@example.com",
	"employee_number": "E-0000001", "job_title": "Staff engineer", "department": "Platform", "hire_date": "2026-11-20", "country": "DE",
	"currency": "EUR", "status": "ACTIVE", "created_at": "2026-11-20T09:00:00.123456Z", "updated_at": "2026-11-20T09:00:00.123456Z",
}}

func BenchmarkPayload(b *testing.B) {
	at := time.Date(2026, 11, 20, 9, 0, 0, 123456000, time.UTC)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = event.AppendPayload(buf[:0], "evt_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", "employee.created", at, func(dst []byte) []byte {
			return event.AppendValue(dst, employee)
		})
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkSum(b *testing.B) {
	e := event.New("evt_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", "employee.created", time.Now(), employee)
	b.ReportAllocs()
	for b.Loop() {
		_ = e.Sum()
	}
}
