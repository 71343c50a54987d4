package watch_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/watch"
)

func result(sub string, n int) delivery.Result {
	return delivery.Result{
		Delivery: delivery.Delivery{ID: fmt.Sprintf("dlv_%d", n), SubscriptionID: sub},
		Attempt:  delivery.Attempt{Number: 1, StatusCode: n},
	}
}

func all(delivery.Delivery, delivery.Attempt) bool { return true }

func TestWatchersSeeWhatTheyWant(t *testing.T) {
	t.Parallel()
	var hub watch.Hub
	hub.Observe([]delivery.Result{result("sub_a", 1)}) // nobody watches
	a, err := hub.Watch(func(d delivery.Delivery, _ delivery.Attempt) bool { return d.SubscriptionID == "sub_a" })
	if err != nil {
		t.Fatal(err)
	}
	b, err := hub.Watch(all)
	if err != nil {
		t.Fatal(err)
	}
	nothing := result("sub_a", 3)
	nothing.Attempt.Number = 0 // nothing was sent: no attempt
	hub.Observe([]delivery.Result{result("sub_b", 2), nothing, result("sub_a", 4)})
	if s, err := a.Next(t.Context()); err != nil || s.Attempt.StatusCode != 4 || s.Missed != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, want := range []int{2, 4} {
		if s, err := b.Next(t.Context()); err != nil || s.Attempt.StatusCode != want {
			t.Errorf("%+v, %v", s, err)
		}
	}
	a.Stop()
	a.Stop()
	hub.Observe([]delivery.Result{result("sub_a", 5)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// A slow watcher holds nothing up, and learns how much it missed and where.
func TestASlowWatcherIsToldWhatItMissed(t *testing.T) {
	t.Parallel()
	var hub watch.Hub
	w, err := hub.Watch(all)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		hub.Observe([]delivery.Result{result("sub_a", i)})
	}
	seen := 0
	for range 256 {
		s, err := w.Next(t.Context())
		if err != nil || s.Missed != 0 {
			t.Fatalf("%+v, %v", s, err)
		}
		seen++
	}
	hub.Observe([]delivery.Result{result("sub_a", 1000), result("sub_a", 1001)})
	if s, err := w.Next(t.Context()); err != nil || s.Missed != int64(1000-seen) || s.Attempt.StatusCode != 1000 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := w.Next(t.Context()); err != nil || s.Missed != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestWatchersAreBounded(t *testing.T) {
	t.Parallel()
	var hub watch.Hub
	var first *watch.Watcher
	for i := range 500 {
		w, err := hub.Watch(all)
		if err != nil {
			t.Fatal(i, err)
		}
		if first == nil {
			first = w
		}
	}
	if _, err := hub.Watch(all); !errors.Is(err, watch.ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	first.Stop()
	if _, err := hub.Watch(all); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
}

func TestConcurrentWatching(t *testing.T) {
	t.Parallel()
	var hub watch.Hub
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				hub.Observe([]delivery.Result{result("sub_a", i)})
			}
		})
		wg.Go(func() {
			for range 50 {
				w, err := hub.Watch(all)
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithCancel(t.Context())
				go cancel()
				for {
					if _, err := w.Next(ctx); err != nil {
						break
					}
				}
				w.Stop()
			}
		})
	}
	wg.Wait()
}

func BenchmarkObserve(b *testing.B) {
	for _, watchers := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			var hub watch.Hub
			for range watchers {
				if _, err := hub.Watch(all); err != nil {
					b.Fatal(err)
				}
			}
			batch := []delivery.Result{result("sub_a", 1)}
			b.ReportAllocs()
			for b.Loop() {
				hub.Observe(batch)
			}
		})
	}
}
