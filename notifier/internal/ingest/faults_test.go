package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
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

var errLost = errors.New("the answer was lost")

// faults stands between an engine and its store.
type faults struct {
	engineStore
	// lose says that the answer of a call is to be lost: the store did it, and the engine does not learn so.
	lose func(op string) bool
	// dead makes every call fail, as if the process had been cut off; stalled makes calls wait.
	dead    atomic.Bool
	stalled atomic.Pointer[chan struct{}]
}

func (f *faults) through(ctx context.Context) error {
	if stalled := f.stalled.Load(); stalled != nil {
		select {
		case <-*stalled:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if f.dead.Load() {
		return errors.New("cut off")
	}
	return nil
}

func (f *faults) lost(op string, err error) error {
	if err == nil && (f.dead.Load() || f.lose != nil && f.lose(op)) {
		return errLost
	}
	return err
}

func (f *faults) Publish(ctx context.Context, b *ingest.Batch) (bool, error) {
	if err := f.through(ctx); err != nil {
		return false, err
	}
	stored, err := f.engineStore.Publish(ctx, b)
	return stored, f.lost("publish", err)
}

func (f *faults) Claim(ctx context.Context, token int64, wants []delivery.Want) ([]delivery.Leased, []string, error) {
	if err := f.through(ctx); err != nil {
		return nil, nil, err
	}
	claimed, more, err := f.engineStore.Claim(ctx, token, wants)
	if err := f.lost("claim", err); err != nil {
		return nil, nil, err
	}
	return claimed, more, nil
}

func (f *faults) Finish(ctx context.Context, batch []delivery.Finished) ([]bool, []string, error) {
	if err := f.through(ctx); err != nil {
		return nil, nil, err
	}
	held, woken, err := f.engineStore.Finish(ctx, batch)
	return held, woken, f.lost("finish", err)
}

func (f *faults) Release(ctx context.Context, batch []delivery.Released) error {
	if err := f.through(ctx); err != nil {
		return err
	}
	return f.lost("release", f.engineStore.Release(ctx, batch))
}

func (f *faults) Enter(ctx context.Context, replica string, token int64) error {
	if err := f.through(ctx); err != nil {
		return err
	}
	return f.lost("enter", f.engineStore.Enter(ctx, replica, token))
}

func (f *faults) Renew(ctx context.Context, tokens []int64) ([]int64, int, error) {
	if err := f.through(ctx); err != nil {
		return nil, 0, err
	}
	lost, n, err := f.engineStore.Renew(ctx, tokens)
	return lost, n, f.lost("renew", err)
}

func (f *faults) Expire(ctx context.Context, ttl time.Duration) (int, error) {
	if err := f.through(ctx); err != nil {
		return 0, err
	}
	return f.engineStore.Expire(ctx, ttl)
}

func (f *faults) Leave(ctx context.Context, token int64) (int, error) {
	if err := f.through(ctx); err != nil {
		return 0, err
	}
	n, err := f.engineStore.Leave(ctx, token)
	return n, f.lost("leave", err)
}

// publishUntilStored publishes as a relay does: the same again until it is stored.
func publishUntilStored(t *testing.T, r *replica, e event.Event) {
	t.Helper()
	for range 1000 {
		err := r.Publish(t.Context(), []event.Event{e})
		if err == nil {
			return
		}
		if errors.Is(err, event.ErrConflict) {
			t.Errorf("%s conflicts with itself", e.ID)
			return
		}
	}
	t.Error("never stored")
}

// TestLostAnswers: whatever answer of the database is lost, nothing is lost or doubled, and nothing waits for long.
func TestLostAnswers(t *testing.T) {
	for _, op := range []string{"publish", "claim", "finish", "release", "enter", "renew", "leave", "any"} {
		t.Run(op, func(t *testing.T) {
			onEngines(t, func(t *testing.T, db *sqldb.DB) {
				const events = 300
				got := newReceiver()
				f := &faults{lose: func(done string) bool { return (op == "any" || op == done) && rand.N(4) == 0 }}
				r := startFaulty(t, db, newCatalog(db, target(1)), senderFunc(func(_ context.Context, r delivery.Request) delivery.Attempt {
					if n := got.note(r); n == 1 && rand.N(10) == 0 {
						return answer(500)
					}
					return answer(200)
				}), delivery.Config{Schedule: []time.Duration{0, 50 * time.Millisecond, 50 * time.Millisecond}, LeaseTTL: 2 * time.Second},
					func(s *sqlstore.Store) engineStore { f.engineStore = s; return f })
				var workers sync.WaitGroup
				for w := range 10 {
					workers.Go(func() {
						for i := range events / 10 {
							publishUntilStored(t, r, newEvent(fmt.Sprint("emp_", w, i%7), 1))
						}
					})
				}
				workers.Wait()
				settled(t, db, events)
				attempts := scalar(t, db, `SELECT sum(attempts) FROM finished_deliveries`)
				if posts, different := got.count(); different != events || posts != attempts {
					t.Errorf("%d posts of %d deliveries, %d attempts are stored; want %d deliveries", posts, different, attempts, events)
				}
			})
		})
	}
}

// TestPanicHeals: after a panic in a commit the next one is as any other, and finds all places free.
func TestPanicHeals(t *testing.T) {
	onEngines(t, func(t *testing.T, db *sqldb.DB) {
		var before, within bool
		s := target(1)
		s.Match = func(*subscription.Candidate) bool {
			if before {
				panic("while the batch is made")
			}
			return true
		}
		r := startFaulty(t, db, newCatalog(db, target(0), s), senderFunc(func(context.Context, delivery.Request) delivery.Attempt { return answer(200) }),
			delivery.Config{}, func(s *sqlstore.Store) engineStore {
				return &faults{engineStore: s, lose: func(op string) bool {
					if op == "publish" && within {
						panic("while the batch is stored")
					}
					return false
				}}
			})
		publish := func() error { return r.Publish(t.Context(), []event.Event{newEvent(id.New("emp"), 1)}) }
		for _, broken := range []*bool{&before, &within} {
			if err := publish(); err != nil {
				t.Fatal(err)
			}
			*broken = true
			if err := publish(); err == nil {
				t.Fatal("no error")
			}
			*broken = false
		}
		if err := publish(); err != nil {
			t.Fatal(err)
		}
		settled(t, db, 2*4) // the one that was stored before the panic is delivered too
	})
}

// TestCrash: a replica is cut off in the middle of its work; the other takes over what it had, within the lease's time.
func TestCrash(t *testing.T) {
	onEngines(t, func(t *testing.T, db *sqldb.DB) {
		const events, ttl = 500, time.Second
		got := newReceiver()
		var inFlight atomic.Int64
		sender := senderFunc(func(context.Context, delivery.Request) delivery.Attempt { return answer(200) })
		f := &faults{}
		dying := startFaulty(t, db, newCatalog(db, target(1)), senderFunc(func(ctx context.Context, r delivery.Request) delivery.Attempt {
			if f.dead.Load() {
				<-ctx.Done() // a dead process sends nothing
				return answer(200)
			}
			inFlight.Add(1)
			defer inFlight.Add(-1)
			time.Sleep(5 * time.Millisecond)
			got.note(r)
			return sender(ctx, r)
		}), delivery.Config{LeaseTTL: ttl, StopTimeout: 10 * time.Millisecond}, func(s *sqlstore.Store) engineStore { f.engineStore = s; return f })
		for i := range events / 50 {
			var call []event.Event
			for n := range 50 {
				call = append(call, newEvent(fmt.Sprint("emp_", i, n%40), 1))
			}
			if err := dying.Publish(t.Context(), call); err != nil {
				t.Fatal(err)
			}
		}
		f.dead.Store(true)
		doubled := int(inFlight.Load()) + 1024 // what was sent and not stored
		died := time.Now()
		heir := startReplica(t, db, newCatalog(db, target(1)), senderFunc(func(ctx context.Context, r delivery.Request) delivery.Attempt {
			got.note(r)
			return sender(ctx, r)
		}), delivery.Config{LeaseTTL: ttl})
		settled(t, db, events)
		if took := time.Since(died); took > ttl+5*time.Second {
			t.Errorf("taken over after %v", took)
		}
		posts, different := got.count()
		if different != events || posts > events+doubled {
			t.Errorf("%d posts of %d deliveries, want %d, and at most %d twice", posts, different, events, doubled)
		}
		heir.stop()
	})
}

// TestZombie: a replica that is stopped for longer than its lease, and goes on, sends nothing of what another has taken over.
func TestZombie(t *testing.T) {
	onEngines(t, func(t *testing.T, db *sqldb.DB) {
		const events, ttl = 200, time.Second
		got := newReceiver()
		var asleep sync.RWMutex
		f := &faults{}
		slow := target(1)
		slow.MaxInFlight = 2
		zombie := startFaulty(t, db, newCatalog(db, slow), senderFunc(func(_ context.Context, r delivery.Request) delivery.Attempt {
			asleep.RLock()
			defer asleep.RUnlock()
			got.note(r)
			time.Sleep(5 * time.Millisecond)
			return answer(200)
		}), delivery.Config{LeaseTTL: ttl}, func(s *sqlstore.Store) engineStore { f.engineStore = s; return f })
		var call []event.Event
		for n := range events {
			call = append(call, newEvent(fmt.Sprint("emp_", n), 1))
		}
		if err := zombie.Publish(t.Context(), call); err != nil {
			t.Fatal(err)
		}
		stalled := make(chan struct{})
		f.stalled.Store(&stalled)
		asleep.Lock() // what is under way ends, then all stands still
		heir := startReplica(t, db, newCatalog(db, target(1)), senderFunc(func(_ context.Context, r delivery.Request) delivery.Attempt {
			got.note(r)
			return answer(200)
		}), delivery.Config{LeaseTTL: ttl})
		settled(t, db, events)
		asleep.Unlock()
		f.stalled.Store(nil)
		close(stalled)
		if err := zombie.Publish(t.Context(), []event.Event{newEvent("emp_after", 1)}); err != nil {
			t.Fatal(err)
		}
		settled(t, db, events+1)
		heir.stop()
		zombie.stop()
		posts, different := got.count()
		if different != events+1 || posts > different+events/2 {
			t.Errorf("%d posts of %d deliveries", posts, different)
		}
		if n := scalar(t, db, `SELECT count(*) FROM leases`); n != 0 {
			t.Errorf("%d leases after all have stopped", n)
		}
	})
}

// TestRolling: replicas come and go in order, under load; nobody waits for a lease to end, and nothing is sent twice.
func TestRolling(t *testing.T) {
	onEngines(t, func(t *testing.T, db *sqldb.DB) {
		got := newReceiver()
		sender := senderFunc(func(ctx context.Context, r delivery.Request) delivery.Attempt {
			time.Sleep(2 * time.Millisecond)
			got.note(r)
			return answer(200)
		})
		start := func() *replica {
			return startReplica(t, db, newCatalog(db, target(1)), sender, delivery.Config{LeaseTTL: time.Minute})
		}
		var current atomic.Pointer[replica]
		current.Store(start())
		var stop atomic.Bool
		var published atomic.Int64
		var workers sync.WaitGroup
		for w := range 8 {
			workers.Go(func() {
				for i := 0; !stop.Load(); i++ {
					e := newEvent(fmt.Sprint("emp_", w, i%50), 1)
					for {
						err := current.Load().Publish(t.Context(), []event.Event{e})
						if err == nil {
							break
						}
						if !errors.Is(err, ingest.ErrStopped) {
							t.Error(err)
							break
						}
					}
					published.Add(1)
				}
			})
		}
		for range 8 {
			time.Sleep(100 * time.Millisecond)
			old := current.Swap(start())
			old.stop()
		}
		stop.Store(true)
		workers.Wait()
		settled(t, db, int(published.Load()))
		if posts, different := got.count(); posts != int(published.Load()) || different != posts {
			t.Errorf("%d posts of %d deliveries, want %d", posts, different, published.Load())
		}
	})
}
