package sqlstore_test

import (
	"fmt"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/ingest"
	"hirewire.dev/notifier/internal/sqlstore"
	"hirewire.dev/notifier/internal/sqlstore/storetest"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

const benchToken = 7 << 32

// onEngines runs bench on a new store of each engine, with one token that holds.
func onEngines(b *testing.B, bench func(b *testing.B, s *sqlstore.Store)) {
	b.Helper()
	for _, e := range []struct {
		name string
		url  func(testing.TB) string
	}{{"sqlite", sqldbtest.SQLiteURL}, {"postgres", sqldbtest.PostgresURL}} {
		b.Run(e.name, func(b *testing.B) {
			db := sqldbtest.Open(b, e.url(b))
			s := openBench(b, db)
			b.ReportAllocs()
			cpu := storetest.StartCPU(b, db)
			bench(b, s)
			cpu.Report(b, b.N)
		})
	}
}

func openBench(b *testing.B, db *sqldb.DB) *sqlstore.Store {
	s := sqlstore.New(db)
	if err := s.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := s.Enter(b.Context(), "bench", benchToken); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func benchBatch(events, subscriptions int, lease bool) *ingest.Batch {
	batch := &ingest.Batch{Epoch: 1, Token: benchToken, At: time.Now()}
	for i := range events {
		e := event.New(id.New("evt"), "employee.created", time.Now(), map[string]any{"employee": map[string]any{
			"id": id.New("emp"), "version": 1, "given_name": "Zoë", "family_name": "Quartermaine", "email": fmt.Sprintf("zoe.%d@example.com", i),
			"employee_number": fmt.Sprintf("E-%07d", i), "job_title": "Staff engineer", "department": "Platform", "hire_date": "2026-11-20",
			"country": "DE", "currency": "EUR", "status": "ACTIVE", "created_at": "2026-11-20T09:00:00.123456Z", "updated_at": "2026-11-20T09:00:00.123456Z",
		}})
		batch.Events = append(batch.Events, &e)
		batch.Sums = append(batch.Sums, e.Sum())
		for n := range subscriptions {
			batch.Deliveries = append(batch.Deliveries, ingest.NewDelivery{
				ID: id.New("dlv"), Event: i, SubscriptionID: fmt.Sprintf("sub_01J8ZQ4T6Y9GZ1K3V5X7A9B2%02d", n), Ordered: true, Lease: lease,
			})
		}
		batch.Calls = append(batch.Calls, ingest.Call{Events: 1, Deliveries: subscriptions})
	}
	return batch
}

func finished(batch *ingest.Batch) []delivery.Finished {
	out := make([]delivery.Finished, 0, len(batch.Deliveries))
	for _, d := range batch.Deliveries {
		e := batch.Events[d.Event]
		f := delivery.Finished{Status: delivery.Delivered, Ordered: true, Attempt: delivery.Attempt{
			Number: 1, StartedAt: time.Now(), Duration: 3 * time.Millisecond, StatusCode: 200, Outcome: delivery.OutcomeDelivered,
		}}
		f.Token = benchToken
		f.Delivery = delivery.Delivery{
			ID: d.ID, EventID: e.ID, EventType: e.Type, SubscriptionID: d.SubscriptionID, EmployeeID: e.EmployeeID, Position: e.Position, CreatedAt: time.Now(),
		}
		out = append(out, f)
	}
	return out
}

// BenchmarkPublishAndFinish is the database's whole work for a delivery that goes well: an operation is one event.
func BenchmarkPublishAndFinish(b *testing.B) {
	for _, c := range []struct{ batch, subscriptions int }{{1, 1}, {64, 1}, {64, 3}} {
		b.Run(fmt.Sprintf("batch=%d/subscriptions=%d", c.batch, c.subscriptions), func(b *testing.B) {
			onEngines(b, func(b *testing.B, s *sqlstore.Store) {
				for n := 0; n < b.N; n += c.batch {
					b.StopTimer()
					batch := benchBatch(c.batch, c.subscriptions, true)
					b.StartTimer()
					store(b, s, batch)
					finishAll(b, s, finished(batch))
				}
			})
		})
	}
}

func BenchmarkPublish(b *testing.B) {
	onEngines(b, func(b *testing.B, s *sqlstore.Store) {
		for n := 0; n < b.N; n += 64 {
			b.StopTimer()
			batch := benchBatch(64, 1, true)
			b.StartTimer()
			store(b, s, batch)
		}
	})
}

func finishAll(b *testing.B, s *sqlstore.Store, batch []delivery.Finished) {
	held, _, err := s.Finish(b.Context(), batch)
	if err != nil {
		b.Fatal(err)
	}
	for i := range held {
		if !held[i] {
			b.Fatal("the lease was lost")
		}
	}
}

// BenchmarkClaim claims 64 deliveries of one subscription, among 20,000 that are held for others: an operation is one of the 64.
func BenchmarkClaim(b *testing.B) {
	onEngines(b, func(b *testing.B, s *sqlstore.Store) {
		for range 10 {
			store(b, s, benchBatch(250, 8, false))
		}
		const room = 64
		want := []delivery.Want{{SubscriptionID: "sub_01J8ZQ4T6Y9GZ1K3V5X7A9B200", Room: room, Ordered: true}}
		b.ResetTimer()
		for n := 0; n < b.N; n += room {
			claimed, _, err := s.Claim(b.Context(), benchToken, want)
			if err != nil || len(claimed) != room {
				b.Fatal(len(claimed), err)
			}
			b.StopTimer()
			var back []delivery.Released
			for _, l := range claimed {
				back = append(back, delivery.Released{ID: l.ID, Token: l.Token})
			}
			if err := s.Release(b.Context(), back); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}

// BenchmarkPoll asks for all of 10,000 subscriptions, with nothing due.
func BenchmarkPoll(b *testing.B) {
	onEngines(b, func(b *testing.B, s *sqlstore.Store) {
		var wants []delivery.Want
		for i := range 10_000 {
			wants = append(wants, delivery.Want{SubscriptionID: fmt.Sprintf("sub_%026d", i), Room: 16, Ordered: true})
		}
		store(b, s, benchBatch(250, 8, false)) // held: others'
		b.ResetTimer()
		for range b.N {
			if claimed, _, err := s.Claim(b.Context(), benchToken, wants); err != nil || len(claimed) != 0 {
				b.Fatal(len(claimed), err)
			}
		}
	})
}

func store(b *testing.B, s *sqlstore.Store, batch *ingest.Batch) {
	b.Helper()
	if stored, err := s.Publish(b.Context(), batch); err != nil || !stored {
		b.Fatal(stored, err)
	}
}
