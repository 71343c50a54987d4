package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/filter"
	"hirewire.dev/notifier/internal/ingest"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

// onEngines runs a test on a new database of each engine.
func onEngines(t *testing.T, test func(t *testing.T, db *sqldb.DB)) {
	sqldbtest.Run(t, func(t *testing.T, open func(*testing.T) *sqldb.DB) { test(t, open(t)) })
}

// receiver counts POSTs.
type receiver struct {
	mu    sync.Mutex
	posts map[string]int // by event and subscription
	total int
}

func newReceiver() *receiver { return &receiver{posts: map[string]int{}} }

func (r *receiver) note(q delivery.Request) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	key := q.Event.ID + " " + q.Target.ID
	r.posts[key]++
	return r.posts[key]
}

func (r *receiver) count() (posts, different int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total, len(r.posts)
}

// settled checks the end of a run: everything delivered, accounted for, nothing pending or leased.
func settled(t *testing.T, db *sqldb.DB, deliveries int) {
	t.Helper()
	waitFor(t, "nothing pending", 60*time.Second, func() bool { return scalar(t, db, `SELECT count(*) FROM deliveries`) == 0 })
	if n := scalar(t, db, `SELECT count(*) FROM finished_deliveries WHERE status = 'DELIVERED'`); n != deliveries {
		t.Errorf("%d delivered, want %d", n, deliveries)
	}
	if out, in := scalar(t, db, `SELECT sum(fanned_out) FROM balances`), scalar(t, db, `SELECT sum(delivered + dead + cancelled) FROM balances`); out != deliveries || in != deliveries {
		t.Errorf("the balance says %d fanned out, %d ended; want %d", out, in, deliveries)
	}
}

func scalar(tb testing.TB, db *sqldb.DB, query string, args ...any) (n int) {
	tb.Helper()
	if err := db.QueryRowContext(tb.Context(), query, args...).Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n
}

// TestExactlyOnePost: three replicas on one database deliver 20,000 events to two subscriptions, with one POST each.
func TestExactlyOnePost(t *testing.T) {
	onEngines(t, func(t *testing.T, db *sqldb.DB) {
		const events = 20_000
		replicas := 3
		if db.Engine == sqldb.SQLite {
			replicas = 1 // one process to a file
		}
		got := newReceiver()
		var all []*replica
		for range replicas {
			all = append(all, startReplica(t, db, newCatalog(db, target(1), target(2)), senderFunc(func(_ context.Context, r delivery.Request) delivery.Attempt {
				got.note(r)
				return answer(200)
			}), delivery.Config{}))
		}
		var next atomic.Int64
		var workers sync.WaitGroup
		for w := range 32 {
			workers.Go(func() {
				for {
					n := int(next.Add(10))
					if n > events {
						return
					}
					size := 10
					var batch []event.Event
					for i := range size {
						batch = append(batch, newEvent(fmt.Sprintf("emp_%d", (n+i)%3000), 1))
					}
					// One call of ten, ten calls of one, and now and then the same twice.
					for from, step := 0, 1+9*(w%2); from < size; from += step {
						part := batch[from : from+step]
						if err := all[(w+from)%replicas].Publish(t.Context(), part); err != nil {
							t.Error(err)
						}
						if n%100 == 0 {
							again := append([]event.Event(nil), part...)
							if err := all[(w+from+1)%replicas].Publish(t.Context(), again); err != nil {
								t.Error(err)
							}
						}
					}
				}
			})
		}
		workers.Wait()
		settled(t, db, 2*events)
		if posts, different := got.count(); posts != 2*events || different != 2*events {
			t.Errorf("%d posts of %d deliveries, want %d of each", posts, different, 2*events)
		}
	})
}

// TestOrderByEmployee: whatever fails, and whichever replica has it, an employee's events arrive in order.
func TestOrderByEmployee(t *testing.T) {
	onEngines(t, func(t *testing.T, db *sqldb.DB) {
		replicas := 3
		if db.Engine == sqldb.SQLite {
			replicas = 1
		}
		const employees, versions = 40, 12
		var mu sync.Mutex
		arrived := map[string]int64{} // the last version that arrived, by subscription and employee
		busy := map[string]bool{}
		sender := senderFunc(func(_ context.Context, r delivery.Request) delivery.Attempt {
			key := r.Target.ID + r.Event.EmployeeID
			mu.Lock()
			if busy[key] {
				t.Errorf("two attempts at once for %s", key)
			}
			busy[key] = true
			if want := arrived[key] + 1; r.Event.Version != want {
				t.Errorf("%s: version %d, want %d", key, r.Event.Version, want)
			}
			mu.Unlock()
			time.Sleep(rand.N(3 * time.Millisecond))
			mu.Lock()
			defer mu.Unlock()
			busy[key] = false
			if rand.N(4) == 0 {
				return answer(500)
			}
			arrived[key] = r.Event.Version
			return answer(200)
		})
		conf := delivery.Config{Schedule: make([]time.Duration, 50)}
		for i := range conf.Schedule[1:] {
			conf.Schedule[i+1] = 5 * time.Millisecond
		}
		var all []*replica
		for range replicas {
			all = append(all, startReplica(t, db, newCatalog(db, target(1), target(2)), sender, conf))
		}
		var workers sync.WaitGroup
		for e := range employees {
			workers.Go(func() {
				for v := 1; v <= versions; {
					var call []event.Event
					for range 1 + rand.N(3) {
						if v <= versions {
							call = append(call, newEvent(fmt.Sprint("emp_", e), v))
							v++
						}
					}
					if err := all[rand.N(replicas)].Publish(t.Context(), call); err != nil {
						t.Error(err)
					}
				}
			})
		}
		workers.Wait()
		settled(t, db, 2*employees*versions)
	})
}

// TestChangingSubscriptions: while subscriptions come and go, each event reaches exactly those that were there when it took
// its place in the feed.
// TestShortlyAfterEachOther: the versions of an employee follow each other at once, also when one is stored at the moment in
// which the one before ends.
func TestShortlyAfterEachOther(t *testing.T) {
	onEngines(t, func(t *testing.T, db *sqldb.DB) {
		const employees, versions = 40, 3
		var mu sync.Mutex
		began, late := map[string]time.Time{}, 0
		r := newReceiver()
		replicas := make([]*replica, 1)
		if db.Engine == sqldb.PostgreSQL {
			replicas = make([]*replica, 2)
		}
		for i := range replicas {
			replicas[i] = startReplica(t, db, newCatalog(db, target(1)), senderFunc(func(_ context.Context, q delivery.Request) delivery.Attempt {
				r.note(q)
				mu.Lock()
				defer mu.Unlock()
				if time.Since(began[q.Event.ID]) > 800*time.Millisecond {
					late++
				}
				return answer(200)
			}), delivery.Config{})
		}
		var wg sync.WaitGroup
		for w := range 6 {
			wg.Go(func() {
				for n := range employees {
					for v := range versions {
						e := newEvent(fmt.Sprintf("emp_%d_%d", w, n), v+1)
						mu.Lock()
						began[e.ID] = time.Now()
						mu.Unlock()
						if err := replicas[(w+n+v)%len(replicas)].Publish(t.Context(), []event.Event{e}); err != nil {
							t.Error(err)
						}
					}
					pause := time.NewTimer(20 * time.Millisecond)
					<-pause.C
				}
			})
		}
		wg.Wait()
		settled(t, db, 6*employees*versions)
		if mu.Lock(); late > 6*employees*versions/50 {
			t.Errorf("%d of %d took long", late, 6*employees*versions)
		}
		mu.Unlock()
	})
}

func TestChangingSubscriptions(t *testing.T) {
	onEngines(t, func(t *testing.T, db *sqldb.DB) {
		c := newCatalog(db, target(0))
		r := startReplica(t, db, c, senderFunc(func(context.Context, delivery.Request) delivery.Attempt { return answer(200) }), delivery.Config{})
		type change struct{ position, subscriptions int }
		changes := []change{{0, 1}}
		var stop atomic.Bool
		var workers sync.WaitGroup
		for w := range 8 {
			workers.Go(func() {
				for i := 0; !stop.Load(); i++ {
					if err := r.Publish(t.Context(), []event.Event{newEvent(fmt.Sprint("emp_", w, i), 1)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for n := 1; n <= 20; n++ {
			time.Sleep(5 * time.Millisecond)
			changes = append(changes, change{c.add(t, target(n)), n + 1})
		}
		stop.Store(true)
		workers.Wait()
		waitFor(t, "nothing pending", 30*time.Second, func() bool { return scalar(t, db, `SELECT count(*) FROM deliveries`) == 0 })
		var rows []struct {
			Position int `db:"position"`
			N        int `db:"n"`
		}
		if err := db.SelectContext(t.Context(), &rows, `SELECT position, count(*) AS n FROM finished_deliveries GROUP BY position`); err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			want := 0
			for _, ch := range changes {
				if ch.position < row.Position {
					want = ch.subscriptions
				}
			}
			if row.N != want {
				t.Errorf("the event at %d reached %d subscriptions, want %d", row.Position, row.N, want)
			}
		}
		if events := scalar(t, db, `SELECT count(*) FROM events`); events != len(rows) {
			t.Errorf("%d events, %d with deliveries", events, len(rows))
		}
	})
}

// TestConcurrentDuplicates: the same event from a hundred callers at once is one event, and another content is refused to
// each who brings it.
func TestConcurrentDuplicates(t *testing.T) {
	onEngines(t, func(t *testing.T, db *sqldb.DB) {
		got := newReceiver()
		r := startReplica(t, db, newCatalog(db, target(1)), senderFunc(func(_ context.Context, r delivery.Request) delivery.Attempt {
			got.note(r)
			return answer(200)
		}), delivery.Config{})
		e := newEvent("emp_1", 1)
		other := event.New(e.ID, e.Type, e.OccurredAt, map[string]any{"employee": map[string]any{"id": "emp_1", "version": 2}})
		var workers sync.WaitGroup
		var ok, conflicts atomic.Int64
		for i := range 200 {
			workers.Go(func() {
				same := e
				if i%2 == 1 {
					same = other
				}
				switch err := r.Publish(t.Context(), []event.Event{same, newEvent(fmt.Sprint("emp_x", i), 1)}); {
				case err == nil:
					ok.Add(1)
				case errors.Is(err, event.ErrConflict):
					conflicts.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		workers.Wait()
		if ok.Load() != 100 || conflicts.Load() != 100 {
			t.Errorf("%d stored, %d refused; want 100 and 100", ok.Load(), conflicts.Load())
		}
		settled(t, db, 101)
	})
}

// TestPublishTo reaches one subscription alone.
func TestPublishTo(t *testing.T) {
	onEngines(t, func(t *testing.T, db *sqldb.DB) {
		got := newReceiver()
		none := target(1)
		none.Match = func(*subscription.Candidate) bool { return false }
		r := startReplica(t, db, newCatalog(db, none, target(2)), senderFunc(func(_ context.Context, r delivery.Request) delivery.Attempt {
			got.note(r)
			return answer(200)
		}), delivery.Config{})
		if err := r.PublishTo(t.Context(), event.New(id.New("evt"), "webhook.test", time.Now(), map[string]any{}), none.ID); err != nil {
			t.Fatal(err)
		}
		settled(t, db, 1)
		if n := scalar(t, db, `SELECT count(*) FROM finished_deliveries WHERE subscription_id = $1`, none.ID); n != 1 {
			t.Error("not delivered to the one")
		}
	})
}

// TestCostlyFilters: one owner's filters cannot hold up everybody; what they cannot pay is in doubt, and does not match.
func TestCostlyFilters(t *testing.T) {
	costly, err := filter.Compile(strings.TrimSuffix(strings.Repeat(`event.data.employee.email.matches("^[^@]{1,20}@[a-z.]+$") && `, 5), "&& "))
	if err != nil {
		t.Fatal(err)
	}
	onEngines(t, func(t *testing.T, db *sqldb.DB) {
		var targets []*subscription.Target
		for i := range 61 {
			s := target(i)
			s.Owner, s.Filter, s.Match = "greedy", "costly", func(c *subscription.Candidate) bool { ok, _ := costly.Match(c); return ok }
			switch {
			case i >= 60:
				s.Owner = "modest"
			case i >= 30:
				s.Owner = "" // the administrators' own
			}
			targets = append(targets, s)
		}
		r := startReplica(t, db, newCatalog(db, targets...), senderFunc(func(context.Context, delivery.Request) delivery.Attempt { return answer(200) }), delivery.Config{})
		var greedy int
		for n := range 3 {
			if err := r.Publish(t.Context(), []event.Event{newEvent("emp_1", n+1)}); err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				greedy = scalar(t, db, `SELECT sum(fanned_out) FROM balances`) - 31
			}
		}
		if greedy == 0 || greedy == 30 {
			t.Errorf("%d of the owner's 30 subscriptions had the event", greedy)
		}
		settled(t, db, 3*(greedy+31))
	})
}

// TestStopped: what comes after the end is refused, what came before is stored.
func TestStopped(t *testing.T) {
	db := sqldbtest.OpenSQLite(t)
	r := startReplica(t, db, newCatalog(db, target(1)), senderFunc(func(context.Context, delivery.Request) delivery.Attempt { return answer(200) }), delivery.Config{})
	if err := r.Publish(t.Context(), []event.Event{newEvent("emp_1", 1)}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	if err := r.Publish(t.Context(), []event.Event{newEvent("emp_2", 1)}); !errors.Is(err, ingest.ErrStopped) {
		t.Errorf("published after the end: %v", err)
	}
	if n := scalar(t, db, `SELECT count(*) FROM events`); n != 1 {
		t.Errorf("%d events", n)
	}
}

// TestTenThousandSubscriptions: one event for all of them is acknowledged soon, and reaches each once.
func TestTenThousandSubscriptions(t *testing.T) {
	onEngines(t, func(t *testing.T, db *sqldb.DB) {
		const n = 10_000
		var targets []*subscription.Target
		for i := range n {
			s := target(0)
			s.ID = fmt.Sprintf("sub_%026d", i)
			targets = append(targets, s)
		}
		got := newReceiver()
		r := startReplica(t, db, newCatalog(db, targets...), senderFunc(func(_ context.Context, r delivery.Request) delivery.Attempt {
			got.note(r)
			return answer(200)
		}), delivery.Config{})
		began := time.Now()
		if err := r.Publish(t.Context(), []event.Event{newEvent("emp_1", 1)}); err != nil {
			t.Fatal(err)
		}
		acknowledged := time.Since(began)
		settled(t, db, n)
		t.Logf("acknowledged after %v, delivered after %v", acknowledged.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		if posts, different := got.count(); posts != n || different != n {
			t.Errorf("%d posts of %d deliveries, want %d", posts, different, n)
		}
	})
}
