package ingest_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/sqlstore/storetest"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

// BenchmarkEngine is the whole engine but for the network: an operation is one event, published by one of many callers, one
// to a call, delivered to every subscription, and stored as delivered.
func BenchmarkEngine(b *testing.B) {
	for _, e := range []struct {
		name string
		url  func(testing.TB) string
	}{{"sqlite", sqldbtest.SQLiteURL}, {"postgres", sqldbtest.PostgresURL}} {
		for _, publishers := range []int{64, 256} {
			for _, subscriptions := range []int{1, 3} {
				b.Run(fmt.Sprintf("%s/publishers=%d/subscriptions=%d", e.name, publishers, subscriptions), func(b *testing.B) {
					benchmarkEngine(b, e.url(b), publishers, subscriptions)
				})
			}
		}
	}
}

func benchmarkEngine(b *testing.B, url string, publishers, subscriptions int) {
	db := sqldbtest.Open(b, url)
	var targets []*subscription.Target
	for n := range subscriptions {
		targets = append(targets, target(n))
	}
	var delivered atomic.Int64
	r := startReplica(b, db, newCatalog(db, targets...), senderFunc(func(context.Context, delivery.Request) delivery.Attempt {
		return answer(200)
	}), delivery.Config{}, observerFunc(func(results []delivery.Result) { delivered.Add(int64(len(results))) }))
	events := make([]event.Event, b.N)
	for i := range events {
		events[i] = newEvent(id.New("emp"), 1)
	}
	waitFor(b, "the lease", 5*time.Second, func() bool {
		var n int
		return db.QueryRowContext(b.Context(), `SELECT count(*) FROM leases`).Scan(&n) == nil && n > 0
	})
	b.ReportAllocs()
	cpu := storetest.StartCPU(b, db)
	b.ResetTimer()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range publishers {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if err := r.Publish(b.Context(), events[i:i+1]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	want := int64(b.N * subscriptions)
	waitFor(b, "all delivered", time.Minute, func() bool { return delivered.Load() == want })
	b.StopTimer()
	b.ReportMetric(float64(want)/b.Elapsed().Seconds(), "deliveries/s")
	cpu.Report(b, int(want))
}

type observerFunc func(results []delivery.Result)

func (f observerFunc) Observe(results []delivery.Result) { f(results) }

// BenchmarkDrain is what was held for a subscription, claimed and delivered: an operation is one delivery.
func BenchmarkDrain(b *testing.B) {
	for _, e := range []struct {
		name string
		url  func(testing.TB) string
	}{{"sqlite", sqldbtest.SQLiteURL}, {"postgres", sqldbtest.PostgresURL}} {
		b.Run(e.name, func(b *testing.B) {
			db := sqldbtest.Open(b, e.url(b))
			held := target(1)
			held.Status = subscription.Paused
			c := newCatalog(db, held)
			var delivered atomic.Int64
			r := startReplica(b, db, c, senderFunc(func(context.Context, delivery.Request) delivery.Attempt {
				return answer(200)
			}), delivery.Config{}, observerFunc(func(results []delivery.Result) { delivered.Add(int64(len(results))) }))
			for n := 0; n < b.N; n += 500 {
				var call []event.Event
				for i := range min(b.N-n, 500) {
					call = append(call, newEvent(fmt.Sprint("emp_", (n+i)%20_000), 1))
				}
				if err := r.Publish(b.Context(), call); err != nil {
					b.Fatal(err)
				}
			}
			c.add(b, target(1))
			b.ReportAllocs()
			cpu := storetest.StartCPU(b, db)
			b.ResetTimer()
			if _, err := c.Reload(b.Context()); err != nil {
				b.Fatal(err)
			}
			waitFor(b, "all delivered", 2*time.Minute, func() bool { return delivered.Load() == int64(b.N) })
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
			cpu.Report(b, b.N)
		})
	}
}
