package structjson_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	"hirewire.dev/notifier/internal/event/structjson"
)

func sample(tb testing.TB) *structpb.Struct {
	tb.Helper()
	s, err := structpb.NewStruct(map[string]any{"employee": map[string]any{
		"id": "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", "version": 1, "given_name": "Zoë", "family_name": "Quartermaine", "email": "zoe@example.com",
		"employee_number": "E-0000001", "job_title": "Staff \"engineer\"", "department": "Platform", "hire_date": "2026-11-20", "country": "DE",
		"currency": "EUR", "status": "ACTIVE", "tags": []any{"a", 1.5, nil, true, false, map[string]any{}, []any{}},
	}})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// TestAppend: the same as encoding/json writes, which sorts keys, too.
func TestAppend(t *testing.T) {
	s := sample(t)
	want, err := json.Marshal(s.AsMap())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(structjson.Append(nil, s))); diff != "" {
		t.Errorf("(-encoding/json +got):\n%s", diff)
	}
	if got := string(structjson.Append(nil, nil)); got != "{}" {
		t.Errorf("nothing is %s", got)
	}
}

func BenchmarkAppend(b *testing.B) {
	s := sample(b)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = structjson.Append(buf[:0], s)
	}
	b.SetBytes(int64(len(buf)))
}
