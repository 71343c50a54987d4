package id_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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
	if u.String() != last[4:] {
		t.Errorf("%s is not canonical", last)
	}
	if d := time.Since(ulid.Time(u.Time())); d < -time.Second || d > time.Minute {
		t.Errorf("made %v ago", d)
	}
}

func TestNewIsUniqueAndOrderedForEachGoroutine(t *testing.T) {
	const workers, each = 8, 20_000
	made := make([][]string, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range each {
				made[w] = append(made[w], id.New("evt"))
			}
		})
	}
	wg.Wait()
	for _, ids := range made {
		if !slices.IsSorted(ids) {
			t.Error("not in order")
		}
	}
	all := slices.Concat(made...)
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != workers*each {
		t.Errorf("%d distinct of %d", n, workers*each)
	}
}

func TestNewStaysInOrderWhenTheClockStepsBack(t *testing.T) {
	before := id.New("emp")
	synctest.Test(t, func(t *testing.T) { // its clock starts in the year 2000
		if after := id.New("emp"); after <= before {
			t.Errorf("%s after %s", after, before)
		}
	})
}

func TestValid(t *testing.T) {
	const good = "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4"
	tests := []struct {
		prefix, s string
		want      bool
	}{
		{"emp", good, true},
		{"emp", "emp_00000000000000000000000000", true},
		{"emp", "emp_7ZZZZZZZZZZZZZZZZZZZZZZZZZ", true},
		{"emp", "emp_8ZZZZZZZZZZZZZZZZZZZZZZZZZ", false}, // more than 128 bits
		{"emp", "emp_ZZZZZZZZZZZZZZZZZZZZZZZZZZ", false},
		{"emp", strings.ToLower(good), false},
		{"emp", "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2CI", false}, // I, L, O, U are not digits
		{"emp", "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2CL", false},
		{"emp", "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2CO", false},
		{"emp", "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2CU", false},
		{"emp", good[:len(good)-1], false},
		{"emp", good + "0", false},
		{"emp", " " + good, false},
		{"emp", good + "\n", false},
		{"emp", good[:10] + "\x00" + good[11:], false},
		{"emp", good[:10] + "é" + good[12:], false},
		{"emp", "EMP" + good[3:], false},
		{"emp", "emp-" + good[4:], false},
		{"emp", good[4:], false},
		{"emp", "evt" + good[3:], false},
		{"evt", good, false},
		{"emp", "", false},
		{"emp", "emp_", false},
		{"emp", "../../etc/passwd", false},
		{"emp", "{123e4567-e89b-12d3-a456-426614174000}", false},
		{"emp", strings.Repeat("a", 10_000), false},
	}
	for _, tt := range tests {
		if got := id.Valid(tt.prefix, tt.s); got != tt.want {
			t.Errorf("Valid(%q, %q) = %v", tt.prefix, tt.s, got)
		}
	}
}

func TestBound(t *testing.T) {
	tests := []struct {
		at   time.Time
		want string
	}{
		{time.Unix(0, 0), "evt_00000000000000000000000000"},
		{time.Time{}, "evt_00000000000000000000000000"},
		{time.UnixMilli(1<<48 - 1), "evt_7ZZZZZZZZZ0000000000000000"},
		{time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), "evt_7ZZZZZZZZZ0000000000000000"},
	}
	for _, tt := range tests {
		if got := id.Bound("evt", tt.at); got != tt.want {
			t.Errorf("Bound(%v) = %s, want %s", tt.at, got, tt.want)
		}
	}
	before := time.Now().Truncate(time.Millisecond)
	made := id.New("evt")
	if made < id.Bound("evt", before) {
		t.Errorf("%s is below the bound of the time before it", made)
	}
	if later := id.Bound("evt", time.Now().Add(time.Millisecond)); made >= later {
		t.Errorf("%s is not below the bound of the time after it", made)
	}
}

// FuzzValid holds Valid against the library of the specification.
func FuzzValid(f *testing.F) {
	f.Add(id.New("emp"))
	f.Add("emp_7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
	f.Add("emp_80000000000000000000000000")
	f.Add("emp_0000000000000000000000000u")
	f.Fuzz(func(t *testing.T, s string) {
		rest, ok := strings.CutPrefix(s, "emp_")
		want := false
		if ok {
			u, err := ulid.ParseStrict(rest)
			want = err == nil && u.String() == rest // the library also takes lower case
		}
		if got := id.Valid("emp", s); got != want {
			t.Fatalf("Valid(%q) = %v, want %v", s, got, want)
		}
	})
}

func TestBoundAgreesWithTheLibrary(t *testing.T) {
	for range 1000 {
		ms := rand.Uint64N(1 << 48)
		var u ulid.ULID
		if err := u.SetTime(ms); err != nil {
			t.Fatal(err)
		}
		if got := id.Bound("x", time.UnixMilli(int64(ms))); got != "x_"+u.String() {
			t.Errorf("Bound(%d) = %s, want %s", ms, got, u)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = id.New("emp")
	}
}

func BenchmarkNewParallel(b *testing.B) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_ = id.New("emp")
		}
	})
}

func BenchmarkValid(b *testing.B) {
	s := id.New("emp")
	b.ReportAllocs()
	for b.Loop() {
		if !id.Valid("emp", s) {
			b.Fatal(s)
		}
	}
}
