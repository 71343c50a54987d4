package rest

import (
	"encoding/json"
	"testing"

	"hirewire.dev/platform/internal/testpb"
)

func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{"given_name":"a","parts":[{"labels":{"k":"v"}}],"extra":{"x":[1e3,null,true]}}`, `{"a":"\ud83d\ude00\n"}`, `{} {}`, `{"a":-0.5E+7}`, "{\"a\":\"\x7f\"}",
	} {
		f.Add([]byte(seed))
	}
	message := (&testpb.Thing{}).ProtoReflect().Descriptor()
	f.Fuzz(func(t *testing.T, raw []byte) {
		free := checkJSON(raw, nil)
		if free == nil && !json.Valid(raw) {
			t.Fatal("encoding/json does not take it")
		}
		if known := checkJSON(raw, message); known == nil && free != nil {
			t.Fatalf("knowing the message hides: %v", free)
		}
		if free == nil {
			// No name is repeated, so nothing is lost on the way through a map.
			var out map[string]any
			if err := json.Unmarshal(raw, &out); err != nil {
				t.Skip(err) // a number beyond float64
			}
			again, err := json.Marshal(out)
			if err != nil {
				t.Fatal(err)
			}
			if err := checkJSON(again, nil); err != nil {
				t.Fatalf("%v after a round trip", err)
			}
		}
	})
}

func BenchmarkCheckJSON(b *testing.B) {
	raw := []byte(`{"employee_number":"4711","given_name":"Zoë","family_name":"李","labels":{"a":"b"},"parts":[{"given_name":"x"}],"created_at":"2026-11-20T09:00:00Z"}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if err := checkJSON(raw, nil); err != nil {
			b.Fatal(err)
		}
	}
}
