package sqlstore_test

import (
	"testing"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/watch"
)

func TestReplicasTellEachOther(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		present := func(replica string, here, want bool) {
			t.Helper()
			if elsewhere, err := s.Present(t.Context(), replica, here, time.Minute); err != nil || elsewhere != want {
				t.Errorf("%s: %v, %v", replica, elsewhere, err)
			}
		}
		present("a", false, false)
		present("b", true, false)
		present("a", false, true)
		present("b", true, false)

		seen := func(id string) watch.Seen {
			return watch.Seen{Delivery: delivery.Delivery{ID: id, Status: delivery.Dead, CreatedAt: now()}, Attempt: delivery.Attempt{Number: 1, Snippet: "Zoë"}, Missed: 3}
		}
		told := func(replica string, read map[string]int64, want ...string) map[string]int64 {
			t.Helper()
			list, now, err := s.Told(t.Context(), replica, read)
			if err != nil || len(list) != len(want) {
				t.Fatalf("%+v, %v; want %v", list, err, want)
			}
			for i, id := range want {
				if list[i].Delivery.ID != id || list[i].Attempt.Snippet != "Zoë" || list[i].Missed != 3 || list[i].Delivery.Status != delivery.Dead {
					t.Errorf("%+v, want %s", list[i], id)
				}
			}
			return now
		}
		for range 2 { // again is no harm
			if err := s.Tell(t.Context(), "a", 1, []watch.Seen{seen("before")}, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		read := told("b", nil)
		if err := s.Tell(t.Context(), "a", 2, []watch.Seen{seen("1"), seen("2")}, time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := s.Tell(t.Context(), "c", 1, []watch.Seen{seen("3")}, time.Minute); err != nil {
			t.Fatal(err)
		}
		read = told("b", read, "1", "2", "3")
		read = told("b", read)
		told("c", map[string]int64{"a": 1}, "1", "2")
		if err := s.Tell(t.Context(), "a", 3, []watch.Seen{seen("4")}, 0); err != nil { // takes down what is old
			t.Fatal(err)
		}
		if n := s.count(t, "watch_presence"); n != 0 {
			t.Errorf("%d are present", n)
		}
		told("b", read, "4")
	})
}
