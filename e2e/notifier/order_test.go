package notifier_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hirewire.dev/e2e/mockbank"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// assertInOrder fails when a version of an employee comes before the one below it has come for the last time.
func assertInOrder(t testing.TB, requests []mockbank.Request) {
	t.Helper()
	last := map[string]int{}
	for _, r := range requests {
		if r.Version < last[r.Employee] {
			t.Errorf("version %d of %s came after version %d", r.Version, r.Employee, last[r.Employee])
		}
		last[r.Employee] = max(last[r.Employee], r.Version)
	}
}

// One employee's event fails until it is dead: the employee's later events wait for it, nobody else's do, and then they go on.
func TestFailingEmployeeHoldsBackOnlyItself(t *testing.T) {
	engines(t, func(t *testing.T, e *engine) {
		const employees, versions, failing, attempts = 20, 5, 2, 4
		wait := 700 * time.Millisecond
		r := e.subscribe(t, mockbank.Config{Answer: func(_ context.Context, r mockbank.Request) mockbank.Answer {
			if r.Employee == "emp-00" && r.Version == failing {
				return mockbank.Answer{Status: 500}
			}
			return mockbank.Answer{}
		}}, schedule(0, wait, wait, wait))
		began := time.Now()
		var dead *notifierv1.Event
		for version := 1; version <= versions; version++ {
			var events []*notifierv1.Event
			for i := range employees {
				events = append(events, r.event(t, fmt.Sprintf("emp-%02d", i), version))
			}
			if version == failing {
				dead = events[0]
			}
			e.replicas[version%len(e.replicas)].Publish(t, events...)
		}
		published := time.Since(began)
		r.awaitBalance(t, &notifierv1.Balance{Delivered: employees*versions - 1, Dead: 1})

		requests := r.Requests()
		assertInOrder(t, requests)
		assertStable(t, requests)
		if want := employees*versions - 1 + attempts; len(requests) != want {
			t.Errorf("%d POSTs, want %d", len(requests), want)
		}
		var next, slowest time.Time
		for _, request := range requests {
			switch {
			case request.Employee != "emp-00":
				slowest = request.At
			case request.Version == failing+1 && next.IsZero():
				next = request.At
			}
		}
		if early := wait * 3 * 8 / 10; next.Sub(began) < early {
			t.Errorf("version %d came after %s, while version %d was still being tried", failing+1, next.Sub(began), failing)
		}
		if !slowest.Before(next) {
			t.Errorf("the others took %s (publishing took %s): they waited for the one that fails", slowest.Sub(began), published)
		}
		d, tried := r.delivery(t, dead)
		if d.GetStatus() != notifierv1.Delivery_DEAD || len(tried) != attempts || d.GetAttemptCount() != attempts {
			t.Errorf("the failing delivery is %v, want dead after %d attempts", d, attempts)
		}
	})
}
