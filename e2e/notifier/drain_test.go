package notifier_test

import (
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/latency"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

var (
	held      = flag.Int("held", 3000, "how many events a paused subscription holds before it is drained (in full: 50000)")
	drainRate = flag.Int("drain-rate", 500, "deliveries a second at which it is drained (in full: 2000)")
)

// What a paused subscription has held goes out at the rate that was set, no faster and no slower, and new events do not wait
// behind it.
func TestHeldEventsDrainAtTheSetRate(t *testing.T) {
	engines(t, func(t *testing.T, e *engine) {
		const fresh = 50 // new events a second meanwhile
		r := e.subscribe(t, mockbank.Config{}, func(s *notifierv1.Subscription) { s.RateLimitPerSecond = int32(*drainRate) })
		if _, err := e.Subscriptions.PauseSubscription(t.Context(), &notifierv1.PauseSubscriptionRequest{Id: r.id}); err != nil {
			t.Fatal(err)
		}
		hold(t, e, r, *held)
		r.awaitBalance(t, &notifierv1.Balance{Pending: int64(*held)})
		if n := r.Count(); n != 0 {
			t.Fatalf("%d POSTs came while it was paused", n)
		}

		if _, err := e.Subscriptions.ResumeSubscription(t.Context(), &notifierv1.ResumeSubscriptionRequest{Id: r.id}); err != nil {
			t.Fatal(err)
		}
		resumed := time.Now()
		load := programs.StartLoad(t, fresh, func(i int) *notifierv1.Event { return r.event(t, fmt.Sprintf("emp-fresh-%d", i), 1) }, e.replicas...)
		want := time.Duration(float64(*held) / float64(*drainRate-fresh) * float64(time.Second))
		r.awaitCount(t, *held, 3*want+10*time.Second)
		drained := time.Now()
		published := load.Stop(t)
		r.awaitBalance(t, &notifierv1.Balance{Delivered: int64(*held + len(published))})

		requests := r.Requests()
		assertInOrder(t, requests)
		seen := map[string]bool{}
		var first, last time.Time
		sent := 0
		for _, request := range requests {
			if seen[request.ID] {
				t.Errorf("%s came twice", request.ID)
			}
			seen[request.ID] = true
			if first.IsZero() {
				first = request.At
			}
			if last = request.At; last.Before(drained) {
				sent++
			}
		}
		// The rate of the middle: the start and the end of the backlog are not steady.
		rate := steadyRate(requests, first, drained)
		// Until every replica knows that it is resumed, one of them may hold new events as it held the others.
		latencies, missing := programs.Latencies(published, resumed.Add(500*time.Millisecond), drained, requests)
		p99 := latency.Quantile(latencies, 0.99)
		t.Logf("%d held and %d new events: the first after %s, %.0f a second for %s; new ones: p50 %s, p99 %s", *held, len(published),
			first.Sub(resumed).Round(time.Millisecond), rate, drained.Sub(first).Round(time.Millisecond),
			latency.Quantile(latencies, 0.5).Round(time.Millisecond), p99.Round(time.Millisecond))
		if rate < 0.9*float64(*drainRate) || rate > 1.1*float64(*drainRate) {
			t.Errorf("it was drained at %.0f a second, want %d ± 10 %%", rate, *drainRate)
		}
		if missing > 0 || p99 > time.Second {
			t.Errorf("the p99 of new events was %s, want less than a second; %d did not arrive", p99, missing)
		}
	})
}

// steadyRate is how many came in a second from 10 % to 90 % of the time.
func steadyRate(requests []mockbank.Request, first, last time.Time) float64 {
	whole := last.Sub(first)
	from, to := first.Add(whole/10), last.Add(-whole/10)
	n := 0
	for _, r := range requests {
		if !r.At.Before(from) && r.At.Before(to) {
			n++
		}
	}
	return float64(n) / to.Sub(from).Seconds()
}

// hold publishes events for the receiver: ten versions of each of n/10 employees.
func hold(t *testing.T, e *engine, r *receiver, n int) {
	t.Helper()
	var wait sync.WaitGroup
	const perCall, workers = 500, 4
	for worker := range workers {
		wait.Go(func() {
			// An employee's versions are all published by one worker, in order.
			for version := 1; version <= 10; version++ {
				var events []*notifierv1.Event
				for i := worker; i < n/10; i += workers {
					events = append(events, r.event(t, fmt.Sprintf("emp-held-%d", i), version))
				}
				for len(events) > 0 {
					call := events[:min(perCall, len(events))]
					events = events[len(call):]
					if _, err := e.replicas[worker%len(e.replicas)].Events.PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: call}); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wait.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
