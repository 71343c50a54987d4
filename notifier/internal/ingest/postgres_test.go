package ingest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
	"hirewire.dev/platform/sqldb/sqldbtest/pgproxy"
)

// TestBackendsKilled: PostgreSQL's processes die under load; a process that lives sends nothing twice and loses nothing.
func TestBackendsKilled(t *testing.T) {
	url := sqldbtest.PostgresURL(t)
	db, killer := sqldbtest.Open(t, url), sqldbtest.Open(t, url, sqldb.MaxOpenConns(1))
	got := newReceiver()
	r := startReplica(t, db, newCatalog(db, target(1)), senderFunc(func(_ context.Context, r delivery.Request) delivery.Attempt {
		if n := got.note(r); n == 1 && rand.N(20) == 0 {
			return answer(500)
		}
		return answer(200)
	}), delivery.Config{Schedule: []time.Duration{0, 50 * time.Millisecond, 50 * time.Millisecond}, LeaseTTL: 5 * time.Second})
	var stop atomic.Bool
	var published atomic.Int64
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				publishUntilStored(t, r, newEvent(fmt.Sprint("emp_", w, i%20), 1))
				published.Add(1)
			}
		})
	}
	kills := 0
	for range 60 {
		time.Sleep(30 * time.Millisecond)
		kills += scalar(t, killer, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5`)
	}
	stop.Store(true)
	workers.Wait()
	settled(t, killer, int(published.Load()))
	attempts := scalar(t, killer, `SELECT sum(attempts) FROM finished_deliveries`)
	if posts, different := got.count(); different != int(published.Load()) || posts != attempts {
		t.Errorf("%d posts of %d deliveries, %d attempts are stored; want %d deliveries", posts, different, attempts, published.Load())
	}
	t.Logf("%d backends killed under %d events", kills, published.Load())
}

// TestAnswersCutOnTheWire: connections break between what a statement did and its answer, rows that had arrived included. A
// process that lives sends nothing twice and loses nothing.
func TestAnswersCutOnTheWire(t *testing.T) {
	for name, text := range map[string]string{
		"publish": "WITH f AS", "claim": "WITH live AS", "finish": "WITH del AS", "retry": "WITH upd AS", "release": "UPDATE deliveries d SET lease = 0",
	} {
		t.Run(name, func(t *testing.T) {
			url := sqldbtest.PostgresURL(t)
			proxy, err := pgproxy.Start(url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = proxy.Close() })
			direct, db := sqldbtest.Open(t, url), sqldbtest.Open(t, proxy.URL(url))
			got := newReceiver()
			active, paused := target(1), target(1)
			paused.Status = subscription.Paused
			if name == "release" { // then there must be a queue
				active.MaxInFlight = 1
			}
			c := newCatalog(db, active)
			r := startReplica(t, db, c, senderFunc(func(_ context.Context, r delivery.Request) delivery.Attempt {
				if name == "release" {
					time.Sleep(time.Millisecond)
				}
				if n := got.note(r); n == 1 && rand.N(5) == 0 {
					return answer(500)
				}
				return answer(200)
			}), delivery.Config{Schedule: []time.Duration{0, 20 * time.Millisecond, 20 * time.Millisecond}, LeaseTTL: 5 * time.Second})
			cuts := proxy.Add(pgproxy.Rule{Kind: pgproxy.Done, Text: text, N: 2, Action: pgproxy.Cut})
			for n := 5; n < 60; n += 7 {
				proxy.Add(pgproxy.Rule{Kind: pgproxy.Done, Text: text, N: n, Action: pgproxy.Cut})
			}
			const events = 600
			var workers sync.WaitGroup
			for w := range 6 {
				workers.Go(func() {
					for i := range events / 6 {
						publishUntilStored(t, r, newEvent(fmt.Sprint("emp_", w, i%10), 1))
						if name == "release" && i%20 == 10 {
							c.show(paused)
							time.Sleep(2 * time.Millisecond)
							c.show(active)
						}
					}
				})
			}
			workers.Wait()
			settled(t, direct, events)
			attempts := scalar(t, direct, `SELECT sum(attempts) FROM finished_deliveries`)
			if posts, different := got.count(); different != events || posts != attempts {
				t.Errorf("%d posts of %d deliveries, %d attempts are stored; want %d deliveries", posts, different, attempts, events)
			}
			if cuts.Count() < 2 {
				t.Error("no answer was cut")
			}
		})
	}
}
