package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/ingest"
	"hirewire.dev/notifier/internal/sqlstore"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
)

// catalog is the subscriptions of a test. It reads the epoch from the database, as the real one does.
type catalog struct {
	db      *sqldb.DB
	mu      sync.Mutex
	stored  map[string]*subscription.Target
	current *subscription.Snapshot
	changed chan struct{}
}

func newCatalog(db *sqldb.DB, targets ...*subscription.Target) *catalog {
	c := &catalog{db: db, changed: make(chan struct{}), stored: map[string]*subscription.Target{}}
	for _, t := range targets {
		c.stored[t.ID] = t
	}
	c.current = &subscription.Snapshot{Epoch: 1, Targets: maps.Clone(c.stored)}
	return c
}

func (c *catalog) Current() *subscription.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

func (c *catalog) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *catalog) Reload(ctx context.Context) (*subscription.Snapshot, error) {
	var epoch int64
	if err := c.db.QueryRowContext(ctx, `SELECT epoch FROM feed`).Scan(&epoch); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = &subscription.Snapshot{Epoch: epoch, Targets: maps.Clone(c.stored)}
	close(c.changed)
	c.changed = make(chan struct{})
	return c.current, nil
}

// add stores a subscription, in one step with the new epoch; whoever publishes learns of it by Reload. It gives the feed's
// position at that moment.
func (c *catalog) add(tb testing.TB, t *subscription.Target) (position int) {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.db.QueryRowContext(tb.Context(), `UPDATE feed SET epoch = epoch + 1 WHERE id = 1 RETURNING position`).Scan(&position); err != nil {
		tb.Fatal(err)
	}
	c.stored[t.ID] = t
	return position
}

// show puts another view of a subscription in force.
func (c *catalog) show(t *subscription.Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stored[t.ID] = t
	c.current = &subscription.Snapshot{Epoch: c.current.Epoch, Targets: maps.Clone(c.stored)}
	close(c.changed)
	c.changed = make(chan struct{})
}

func target(n int) *subscription.Target {
	return &subscription.Target{
		Subscription: subscription.Subscription{
			ID: fmt.Sprintf("sub_01J8ZQ4T6Y9GZ1K3V5X7A9B2%02d", n), URL: "https://bank.test/", Status: subscription.Active, Ordering: subscription.ByEmployee,
		},
		Match: func(*subscription.Candidate) bool { return true },
	}
}

// senderFunc is a receiver.
type senderFunc func(ctx context.Context, r delivery.Request) delivery.Attempt

func (f senderFunc) Send(ctx context.Context, r delivery.Request) delivery.Attempt { return f(ctx, r) }

func answer(code int) delivery.Attempt {
	return delivery.Attempt{StatusCode: code, Outcome: delivery.OutcomeOf(code), Duration: time.Millisecond}
}

// replica is one process: a publisher and a dispatcher.
type replica struct {
	*ingest.Publisher
	*delivery.Dispatcher
	store *sqlstore.Store
	stop  func()
}

func startReplica(tb testing.TB, db *sqldb.DB, c *catalog, sender delivery.Sender, conf delivery.Config, observers ...delivery.Observer) *replica {
	tb.Helper()
	return startFaulty(tb, db, c, sender, conf, func(s *sqlstore.Store) engineStore { return s }, observers...)
}

// engineStore is what the engine asks of a store.
type engineStore interface {
	ingest.Store
	delivery.Store
}

// startFaulty is startReplica with something between the engine and the store.
func startFaulty(tb testing.TB, db *sqldb.DB, c *catalog, sender delivery.Sender, conf delivery.Config, wrap func(*sqlstore.Store) engineStore,
	observers ...delivery.Observer,
) *replica {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	s := sqlstore.New(db)
	if err := s.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	if conf.Replica == "" {
		conf.Replica = id.New("rep")
	}
	faulty := wrap(s)
	d := delivery.New(conf, faulty, sender, c, nil, log, observers...)
	p := ingest.New(ingest.Config{Schedule: conf.Schedule, NewID: func() string { return id.New("dlv") }}, faulty, c, d, log)
	pctx, stopPublishing := context.WithCancel(tb.Context())
	dctx, stopSending := context.WithCancel(tb.Context())
	var publishing, sending sync.WaitGroup
	publishing.Go(func() { _ = p.Run(pctx) })
	sending.Go(func() { _ = d.Run(dctx) })
	r := &replica{Publisher: p, Dispatcher: d, store: s}
	r.stop = sync.OnceFunc(func() {
		stopPublishing()
		publishing.Wait()
		stopSending()
		sending.Wait()
		_ = s.Close()
	})
	tb.Cleanup(r.stop)
	return r
}

func newEvent(employee string, version int) event.Event {
	return event.New(id.New("evt"), "employee.created", time.Now(), map[string]any{"employee": map[string]any{
		"id": employee, "version": version, "given_name": "Zoë", "family_name": "Quartermaine", "email": "zoe.quartermaine@example.com",
		"employee_number": "E-0000001", "job_title": "Staff engineer", "department": "Platform", "hire_date": "2026-11-20",
		"country": "DE", "currency": "EUR", "status": "ACTIVE", "created_at": "2026-11-20T09:00:00.123456Z", "updated_at": "2026-11-20T09:00:00.123456Z",
	}})
}

// waitFor waits until n reaches want.
func waitFor(tb testing.TB, what string, timeout time.Duration, done func() bool) {
	tb.Helper()
	deadline := time.Now().Add(timeout)
	for !done() {
		if time.Now().After(deadline) {
			tb.Fatalf("not in %v: %s", timeout, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
