package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/employee-svc/internal/outbox"
	"hirewire.dev/employee-svc/internal/sqlstore"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

// notifier is a fake that commits a batch or not, once for each event, and remembers the order.
type notifier struct {
	mu       sync.Mutex
	known    map[string]bool
	first    []string // bodies, in the order in which they were first committed
	calls    int
	repeated int
	// behave decides what a call meets; nil commits. commit says whether the batch is committed although err is returned.
	behave func(call int, batch []outbox.Message) (commit bool, err error)
}

var errUnreachable = errors.New("connection refused")

func (n *notifier) Publish(ctx context.Context, batch []outbox.Message) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	commit, err := true, error(nil)
	if n.behave != nil {
		commit, err = n.behave(n.calls, batch)
	}
	if !commit {
		return err
	}
	for _, m := range batch {
		if n.known == nil {
			n.known = map[string]bool{}
		}
		if n.known[m.EventID] {
			n.repeated++
			continue
		}
		n.known[m.EventID] = true
		n.first = append(n.first, string(m.Body))
	}
	return err
}

func (n *notifier) received() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.first)
}

// checkOrder fails when an employee's versions did not come in order, from 1, without a gap.
func (n *notifier) checkOrder(t *testing.T) {
	t.Helper()
	last := map[string]int{}
	for _, body := range n.received() {
		words := strings.Fields(body)
		version, err := strconv.Atoi(words[2])
		if err != nil {
			t.Fatal(err)
		}
		if version != last[words[1]]+1 {
			t.Fatalf("version %d of %s came after version %d", version, words[1], last[words[1]])
		}
		last[words[1]] = version
	}
}

type observer struct {
	mu     sync.Mutex
	failed map[string]int
	depth  outbox.Depth
}

func (o *observer) Published(int, time.Duration) {}
func (o *observer) Failed(outcome string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed == nil {
		o.failed = map[string]int{}
	}
	o.failed[outcome]++
}

func (o *observer) Depth(d outbox.Depth) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.depth = d
}

// replica is a store with its relay.
type replica struct {
	*sqlstore.Store
	stop  func() // gracefully
	kill  func() // the relay loses its store
	watch *observer
}

// gate is an outbox that can be cut off, as a process is that is killed.
type gate struct {
	outbox.Store
	mu   sync.Mutex
	shut bool
}

var errKilled = errors.New("killed")

func (g *gate) dead() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

func (g *gate) Remove(ctx context.Context, p []int64) error {
	if g.dead() {
		return errKilled
	}
	return g.Store.Remove(ctx, p)
}

func (g *gate) Release(ctx context.Context, lease int64, p []int64) error {
	if g.dead() {
		return errKilled
	}
	return g.Store.Release(ctx, lease, p)
}

func newReplica(t *testing.T, db *sqldb.DB, p outbox.Publisher, change ...func(*outbox.Config)) *replica {
	t.Helper()
	handoff := outbox.NewHandoff(4096)
	r := &replica{Store: start(t, db, handoff), watch: &observer{}}
	g := &gate{Store: sqlstore.NewOutbox(db)}
	cfg := outbox.Config{
		Store: g, Publisher: p, Handoff: handoff, Observer: r.watch,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Lease: 2 * time.Second, PublishTimeout: 500 * time.Millisecond, Poll: 100 * time.Millisecond,
	}
	for _, c := range change {
		c(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	relay := outbox.New(cfg)
	go func() {
		defer close(done)
		if err := relay.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	r.stop = func() { cancel(); <-done }
	r.kill = func() {
		g.mu.Lock()
		g.shut = true
		g.mu.Unlock()
		r.stop()
	}
	t.Cleanup(r.stop)
	return r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 20 s: %s", what)
}

func drained(t *testing.T, db *sqldb.DB) {
	t.Helper()
	eventually(t, "the outbox is empty", func() bool { return count(t, db).Outbox == 0 })
}

// change adds a letter to the department.
func change(e employee.Employee) (employee.Employee, error) {
	if len(e.Department) > 200 {
		e.Department = ""
	}
	e.Department += "x"
	return e, nil
}

// relaySuite runs test on both engines, beside the others: they wait more than they work.
func relaySuite(t *testing.T, test func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		t.Parallel()
		db := openDB(t)
		if err := sqlstore.Migrate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		test(t, db)
	})
}

func TestRelayPublishesOnCommit(t *testing.T) {
	relaySuite(t, func(t *testing.T, db *sqldb.DB) {
		n := &notifier{}
		r := newReplica(t, db, n, func(c *outbox.Config) { c.Poll = time.Hour })
		e := create(t, r.Store, person(1))
		eventually(t, "the event is published without a poll", func() bool { return len(n.received()) == 1 })
		for range 5 {
			if _, err := r.Update(t.Context(), hr, e.ID, change); err != nil {
				t.Fatal(err)
			}
		}
		drained(t, db)
		n.checkOrder(t)
		if got := len(n.received()); got != 6 || n.repeated != 0 {
			t.Errorf("%d events, %d repeated", got, n.repeated)
		}
	})
}

func TestRelayWithManyWriters(t *testing.T) {
	relaySuite(t, func(t *testing.T, db *sqldb.DB) {
		n := &notifier{}
		patient := func(c *outbox.Config) { c.Lease, c.PublishTimeout = time.Minute, 10*time.Second }
		replicas := []*replica{newReplica(t, db, n, patient), newReplica(t, db, n, patient)}
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				for i := range 10 {
					r := replicas[(w+i)%2]
					res, err := r.Create(context.Background(), hr, employee.Create{Employee: person(100*w + i)})
					if err != nil {
						t.Error(err)
						continue
					}
					for k := range 3 { // at once, through the other replica too
						if _, err := replicas[(w+i+k)%2].Update(context.Background(), hr, res.Employee.ID, change); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		drained(t, db)
		n.checkOrder(t)
		if got := len(n.received()); got != 640 || n.repeated != 0 {
			t.Errorf("%d events, want 640; %d repeated, want none without faults", got, n.repeated)
		}
	})
}

func TestRelayWhileTheNotifierIsDown(t *testing.T) {
	relaySuite(t, func(t *testing.T, db *sqldb.DB) {
		n := &notifier{behave: func(int, []outbox.Message) (bool, error) { return false, errUnreachable }}
		r := newReplica(t, db, n)
		for i := range 300 {
			e := create(t, r.Store, person(i))
			if i%3 == 0 {
				if _, err := r.Update(t.Context(), hr, e.ID, change); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := count(t, db).Outbox; got != 400 {
			t.Fatalf("%d events wait, want 400", got)
		}
		eventually(t, "the depth is told", func() bool {
			r.watch.mu.Lock()
			defer r.watch.mu.Unlock()
			return r.watch.depth.Waiting == 400 && !r.watch.depth.Oldest.IsZero()
		})
		n.mu.Lock()
		n.behave = nil
		n.mu.Unlock()
		began := time.Now()
		drained(t, db)
		n.checkOrder(t)
		if got := len(n.received()); got != 400 {
			t.Errorf("%d events, want 400", got)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("drained in %v", took)
		}
	})
}

func TestRelayWhenAnswersAreLost(t *testing.T) {
	relaySuite(t, func(t *testing.T, db *sqldb.DB) {
		rnd := rand.New(rand.NewPCG(1, 2))
		n := &notifier{behave: func(int, []outbox.Message) (bool, error) {
			switch rnd.IntN(4) {
			case 0:
				return true, context.DeadlineExceeded // committed, and nobody heard of it
			case 1:
				return false, errUnreachable
			}
			return true, nil
		}}
		replicas := []*replica{newReplica(t, db, n), newReplica(t, db, n)}
		for i := range 60 {
			e := create(t, replicas[i%2].Store, person(i))
			for range 2 {
				if _, err := replicas[(i+1)%2].Update(t.Context(), hr, e.ID, change); err != nil {
					t.Fatal(err)
				}
			}
		}
		drained(t, db)
		n.checkOrder(t)
		if got := len(n.received()); got != 180 {
			t.Errorf("%d events, want 180", got)
		}
	})
}

// A relay that dies after publishing and before removing leaves leases behind; another publishes again when they end.
func TestRelayKilledBetweenPublishAndRemove(t *testing.T) {
	relaySuite(t, func(t *testing.T, db *sqldb.DB) {
		n := &notifier{}
		first := newReplica(t, db, n)
		e := create(t, first.Store, person(1))
		eventually(t, "published", func() bool { return len(n.received()) == 1 })
		first.kill()
		if _, err := first.Update(t.Context(), hr, e.ID, change); err != nil {
			t.Fatal(err)
		}
		second := newReplica(t, db, n)
		if _, err := second.Update(t.Context(), hr, e.ID, change); err != nil {
			t.Fatal(err)
		}
		drained(t, db)
		n.checkOrder(t)
		if got := len(n.received()); got != 3 {
			t.Errorf("%d events, want 3", got)
		}
	})
}

func TestRelayStopReleasesAtOnce(t *testing.T) {
	relaySuite(t, func(t *testing.T, db *sqldb.DB) {
		blocked := make(chan struct{})
		n := &notifier{behave: func(call int, _ []outbox.Message) (bool, error) {
			if call == 1 {
				close(blocked)
			}
			return false, errUnreachable
		}}
		first := newReplica(t, db, n, func(c *outbox.Config) { c.Lease = 10 * time.Minute })
		for i := range 20 {
			create(t, first.Store, person(i))
		}
		<-blocked
		first.stop()
		n.mu.Lock()
		n.behave = nil
		n.mu.Unlock()
		began := time.Now()
		newReplica(t, db, n)
		drained(t, db)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the long leases kept others off for %v", took)
		}
		n.checkOrder(t)
	})
}

func TestRelayParksWhatIsRefused(t *testing.T) {
	relaySuite(t, func(t *testing.T, db *sqldb.DB) {
		var poison string
		refuse := func(_ int, batch []outbox.Message) (bool, error) {
			for _, m := range batch {
				if m.EmployeeID == poison && strings.HasPrefix(string(m.Body), "employee.created") {
					return false, fmt.Errorf("%w: INVALID_ARGUMENT", outbox.ErrRefused)
				}
			}
			return true, nil
		}
		n := &notifier{behave: func(int, []outbox.Message) (bool, error) { return false, errUnreachable }}
		r := newReplica(t, db, n)
		for i := range 50 { // so that they come in batches later
			e := create(t, r.Store, person(i))
			if i == 20 {
				poison = e.ID
			}
			if _, err := r.Update(t.Context(), hr, e.ID, change); err != nil {
				t.Fatal(err)
			}
		}
		n.mu.Lock()
		n.behave = refuse
		n.mu.Unlock()
		eventually(t, "all but one are published", func() bool { return count(t, db).Outbox == 1 })
		var parked struct {
			EmployeeID string `db:"employee_id"`
			Reason     string `db:"parked_reason"`
		}
		if err := db.GetContext(t.Context(), &parked, `SELECT employee_id, parked_reason FROM outbox WHERE parked_at IS NOT NULL`); err != nil {
			t.Fatal(err)
		}
		if parked.EmployeeID != poison || !strings.Contains(parked.Reason, "INVALID_ARGUMENT") {
			t.Errorf("parked %+v", parked)
		}
		if got := len(n.received()); got != 99 {
			t.Errorf("%d events, want 99", got)
		}
		// Its employee's later events go on.
		if !slices.ContainsFunc(n.received(), func(b string) bool { return strings.Contains(b, "employee.updated "+poison+" 2") }) {
			t.Error("the later event of the same employee is missing")
		}
		if _, err := r.Update(t.Context(), hr, poison, change); err != nil {
			t.Fatal(err)
		}
		eventually(t, "and those that are made after", func() bool { return len(n.received()) == 100 })
		eventually(t, "the depth tells of it", func() bool {
			r.watch.mu.Lock()
			defer r.watch.mu.Unlock()
			return cmp.Equal(r.watch.depth, outbox.Depth{Parked: 1})
		})
	})
}

// An event that breaks the notifier is not allowed to hold up others, nor to be overtaken by its own successors.
func TestRelayDefersWhatBreaksTheNotifier(t *testing.T) {
	relaySuite(t, func(t *testing.T, db *sqldb.DB) {
		var mu sync.Mutex
		var poison string
		healed := false
		n := &notifier{}
		n.behave = func(_ int, batch []outbox.Message) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range batch {
				if m.EmployeeID == poison && !healed {
					return false, fmt.Errorf("%w: INTERNAL", outbox.ErrBroken)
				}
			}
			return true, nil
		}
		r := newReplica(t, db, n)
		for i := range 30 {
			e := create(t, r.Store, person(i))
			if i == 5 {
				mu.Lock()
				poison = e.ID
				mu.Unlock()
			}
			if _, err := r.Update(t.Context(), hr, e.ID, change); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all others are published", func() bool {
			return len(n.received()) >= 58 && count(t, db).Outbox <= 2
		})
		mu.Lock()
		healed = true
		mu.Unlock()
		drained(t, db)
		n.checkOrder(t)
	})
}

func TestRelayTakesOverFromASilentOne(t *testing.T) {
	relaySuite(t, func(t *testing.T, db *sqldb.DB) {
		s := start(t, db, outbox.NewHandoff(10))
		for i := range 10 {
			create(t, s, person(i))
		}
		o := sqlstore.NewOutbox(db)
		const zombie = 77
		claimed, err := o.Claim(t.Context(), zombie, time.Now().Add(time.Second), 6)
		if err != nil || len(claimed) != 6 {
			t.Fatalf("claimed %d, %v", len(claimed), err)
		}
		n := &notifier{}
		newReplica(t, db, n)
		drained(t, db)
		if got := len(n.received()); got != 10 {
			t.Errorf("%d events, want 10", got)
		}
		kept, err := o.Renew(t.Context(), zombie, time.Now().Add(time.Minute), []int64{claimed[0].Position})
		if err != nil || len(kept) != 0 {
			t.Errorf("the silent one still holds %v, %v", kept, err)
		}
	})
}
