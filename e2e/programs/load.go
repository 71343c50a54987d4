package programs

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"hirewire.dev/e2e/mockbank"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// Load publishes events at a steady rate, one in a call, and remembers when.
type Load struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu        sync.Mutex
	published map[string]time.Time
	failed    []error
}

// StartLoad publishes what next makes, rate times a second, through the replicas in turn, until Stop. A call that is slow does
// not slow the others down.
func StartLoad(t testing.TB, rate float64, next func(i int) *notifierv1.Event, replicas ...*Notifier) *Load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &Load{cancel: cancel, published: map[string]time.Time{}}
	slots := make(chan struct{}, 256)
	l.wait.Go(func() {
		ticker := time.NewTicker(time.Duration(float64(time.Second) / rate))
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			event, replica := next(i), replicas[i%len(replicas)]
			slots <- struct{}{}
			l.wait.Go(func() {
				defer func() { <-slots }()
				l.publish(context.WithoutCancel(ctx), replica, event)
			})
		}
	})
	t.Cleanup(func() { l.cancel(); l.wait.Wait() })
	return l
}

func (l *Load) publish(ctx context.Context, n *Notifier, e *notifierv1.Event) {
	began := time.Now()
	_, err := n.Events.PublishEvents(ctx, &notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{e}})
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, fmt.Errorf("publish %s: %w", e.GetId(), err))
		return
	}
	l.published[e.GetId()] = began
}

// Stop ends the load and gives what was published, by event, with the time at which its call began.
func (l *Load) Stop(t testing.TB) map[string]time.Time {
	t.Helper()
	l.cancel()
	l.wait.Wait()
	for i, err := range l.failed {
		if i == 5 {
			t.Errorf("and %d more", len(l.failed)-i)
			break
		}
		t.Error(err)
	}
	return l.published
}

// Latencies are the times from the call that published an event to its first arrival, of those that were published between
// two times, sorted; and how many of them have not arrived.
func Latencies(published map[string]time.Time, from, to time.Time, arrived []mockbank.Request) (sorted []time.Duration, missing int) {
	first := map[string]time.Time{}
	for _, r := range arrived {
		if at, seen := first[r.ID]; !seen || r.At.Before(at) {
			first[r.ID] = r.At
		}
	}
	for id, at := range published {
		if at.Before(from) || !at.Before(to) {
			continue
		}
		if arrival, ok := first[id]; ok {
			sorted = append(sorted, arrival.Sub(at))
		} else {
			missing++
		}
	}
	slices.Sort(sorted)
	return sorted, missing
}
