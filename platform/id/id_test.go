package id_test

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"hirewire.dev/platform/id"
)

func TestNewIsAULIDInOrder(t *testing.T) {
	last := ""
	for range 100_000 {
		s := id.New("emp")
		if s <= last {
			t.Fatalf("%s after %s", s, last)
		}
		last = s
	}
	u, err := ulid.ParseStrict(last[4:])
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(ulid.Time(u.Time())); d < -time.Second || d > time.Minute {
		t.Errorf("made %v ago", d)
	}
	if u.String() != last[4:] {
		t.Errorf("%s is not canonical", last)
	}
}
