package delivery_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/subscription"
)

func TestDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		r := start(t, delivery.Config{}, func(_ context.Context, r delivery.Request) delivery.Attempt {
			if r.Target.ID != "a" || r.Attempt != 1 || r.DeliveryID == "" || r.Event == nil {
				t.Errorf("request %+v", r)
			}
			return answer(204)
		}, a)
		r.publish(a, "emp_1", "emp_2")
		time.Sleep(50 * time.Millisecond)
		r.want(0, 2, 0)
		if len(r.results) != 2 || r.results[0].Delivery.Status != delivery.Delivered || r.results[0].Attempt.Number != 1 {
			t.Errorf("results %+v", r.results)
		}
	})
}

// TestIdleWaitsForNothing: a lone attempt is sent and stored at once.
func TestIdleWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		r := start(t, delivery.Config{}, func(context.Context, delivery.Request) delivery.Attempt { return answer(200) }, a)
		time.Sleep(time.Minute)
		began := time.Now()
		r.publish(a, "emp_1")
		r.want(0, 1, 0)
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// TestEndsAreStoredTogether: at load the ends of many attempts are one write.
func TestEndsAreStoredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		r := start(t, delivery.Config{}, func(ctx context.Context, _ delivery.Request) delivery.Attempt {
			sleep(ctx, time.Millisecond)
			return answer(200)
		}, a)
		for range 1000 {
			r.publishMany(a, 10)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		r.want(0, 10_000, 0)
		if r.store.finishes > 150 {
			t.Errorf("%d writes for 10000 attempts in a second", r.store.finishes)
		}
	})
}

func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		var at []time.Time
		r := start(t, delivery.Config{PollEvery: time.Minute, LeaseTTL: 10 * time.Minute}, func(_ context.Context, r delivery.Request) delivery.Attempt {
			at = append(at, time.Now())
			if r.Attempt != len(at) {
				t.Errorf("attempt %d is number %d", len(at), r.Attempt)
			}
			return answer(500)
		}, a)
		r.publish(a, "emp_1")
		time.Sleep(5 * 24 * time.Hour)
		r.want(0, 0, 1)
		if len(at) != 10 {
			t.Fatalf("%d attempts", len(at))
		}
		for i, want := range delivery.DefaultSchedule[1:] {
			got := at[i+1].Sub(at[i])
			if got < want*8/10 || got > want*12/10+50*time.Millisecond {
				t.Errorf("wait %d is %v, want %v ±20 %%", i+1, got, want)
			}
		}
	})
}

func TestOwnScheduleAndNewBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.Schedule = []time.Duration{0, time.Second, time.Second}
		attempts := 0
		r := start(t, delivery.Config{}, func(context.Context, delivery.Request) delivery.Attempt { attempts++; return answer(500) }, a)
		r.publish(a, "emp_1")
		time.Sleep(time.Minute)
		r.want(0, 0, 1)
		if attempts != 3 {
			t.Errorf("%d attempts, want 3", attempts)
		}
		r.hold(a, 1)
		r.store.mu.Lock()
		for row := range r.store.all() { // made due anew by hand
			row.Attempts, row.Base = 10, 10
		}
		r.store.mu.Unlock()
		time.Sleep(time.Minute)
		r.want(0, 0, 2)
		if attempts != 6 {
			t.Errorf("%d attempts, want 3 more", attempts-3)
		}
	})
}

// TestOrder: the next event of an employee goes when the one before it has ended, and at once then.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.Schedule = []time.Duration{0, time.Second, time.Second}
		var mu sync.Mutex
		var log []string
		r := start(t, delivery.Config{}, func(_ context.Context, r delivery.Request) delivery.Attempt {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, r.Event.ID)
			if r.Event.ID == "evt_000001" {
				return answer(500)
			}
			return answer(200)
		}, a)
		r.publish(a, "emp_1")
		// What follows is stored without a lease, as ingest does behind a pending one.
		r.holdFor(a, "emp_1", "emp_1")
		time.Sleep(10 * time.Second)
		r.want(0, 2, 1)
		mu.Lock()
		defer mu.Unlock()
		if want := []string{"evt_000001", "evt_000001", "evt_000001", "evt_000002", "evt_000003"}; !slices.Equal(log, want) {
			t.Errorf("sent %v, want %v", log, want)
		}
	})
}

// TestGone: 410 stops the subscription in the one attempt, tells, and goes on with another URL.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := target("a"), target("b")
		attempts := 0
		r := start(t, delivery.Config{}, func(_ context.Context, r delivery.Request) delivery.Attempt {
			if r.Target.URL == "https://a.test/" {
				attempts++
				return answer(410)
			}
			return answer(200)
		}, a, b)
		r.publish(a, "emp_1")
		synctest.Wait()
		if got := <-r.gone; got != "a https://a.test/" {
			t.Errorf("told %s", got)
		}
		r.publishMany(a, 5)
		r.publishMany(b, 5)
		time.Sleep(time.Minute)
		r.want(6, 5, 0)
		if attempts != 1 {
			t.Errorf("%d attempts, want 1", attempts)
		}
		r.snapshots.change("a", func(s *subscription.Target) *subscription.Target { s.Status = subscription.Disabled; return s })
		time.Sleep(time.Minute)
		r.want(6, 5, 0)
		r.snapshots.change("a", func(s *subscription.Target) *subscription.Target {
			s.Status, s.URL = subscription.Active, "https://new.test/"
			return s
		})
		time.Sleep(10 * time.Second)
		r.want(0, 11, 0)
	})
}

func TestPauseDeleteAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.MaxInFlight = 1
		sent := 0
		r := start(t, delivery.Config{}, func(ctx context.Context, _ delivery.Request) delivery.Attempt {
			sent++
			sleep(ctx, time.Second)
			return answer(200)
		}, a)
		r.publishMany(a, 10)
		time.Sleep(1500 * time.Millisecond)
		r.snapshots.change("a", func(s *subscription.Target) *subscription.Target { s.Status = subscription.Paused; return s })
		r.publish(r.snapshots.Current().Targets["a"], "emp_late")
		time.Sleep(time.Minute)
		synctest.Wait()
		if sent != 2 {
			t.Errorf("%d sent, want the 2 that had begun", sent)
		}
		r.want(9, 2, 0)
		r.snapshots.change("a", func(s *subscription.Target) *subscription.Target { s.Status = subscription.Active; return s })
		time.Sleep(3500 * time.Millisecond)
		r.snapshots.change("a", func(*subscription.Target) *subscription.Target { return nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if sent != 6 {
			t.Errorf("%d sent, want 6", sent)
		}
	})
}

func TestPayloadGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		r := start(t, delivery.Config{}, func(context.Context, delivery.Request) delivery.Attempt {
			t.Error("sent nothing to somebody")
			return answer(200)
		}, a)
		r.hold(a, 1)
		r.store.mu.Lock()
		for row := range r.store.all() {
			row.Event = nil
		}
		r.store.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if f := r.store.history["dlv_000001"]; f.Status != delivery.Cancelled || f.Attempt.Number != 0 {
			t.Errorf("ended %+v", f)
		}
	})
}

// TestErased: once an erasure is known, nothing of it begins, though it was queued, or stored before and handed over after.
func TestErased(t *testing.T) {
	for _, c := range []struct {
		name  string
		learn func(*rig)
	}{
		{"here", func(r *rig) {
			if err := r.DropErased(r.Context()); err != nil {
				r.Error(err)
			}
		}},
		{"announced", func(r *rig) { r.Recount(); synctest.Wait() }},
		{"found", func(*rig) { time.Sleep(2 * time.Second) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := target("a")
				a.MaxInFlight = 1
				var sent []string
				r := start(t, delivery.Config{}, func(ctx context.Context, q delivery.Request) delivery.Attempt {
					sent = append(sent, q.DeliveryID)
					sleep(ctx, 3*time.Second)
					return answer(200)
				}, a)
				r.publish(a, "emp_1", "emp_gone", "emp_2")
				r.store.erase("emp_gone", 4)
				c.learn(r)
				r.publish(a, "emp_gone", "emp_gone") // one from before, one from after
				time.Sleep(time.Minute)
				synctest.Wait()
				r.store.mu.Lock()
				defer r.store.mu.Unlock()
				if want := []string{"dlv_000001", "dlv_000003", "dlv_000005"}; !slices.Equal(sent, want) {
					t.Errorf("sent %v, want %v", sent, want)
				}
			})
		})
	}
}

// TestPanic: what makes the sender panic fails its own attempts only.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.Schedule = []time.Duration{0, time.Second}
		r := start(t, delivery.Config{}, func(_ context.Context, r delivery.Request) delivery.Attempt {
			if r.Event.EmployeeID == "poison" {
				panic("oh no")
			}
			return answer(200)
		}, a)
		r.publish(a, "poison", "emp_1", "emp_2")
		time.Sleep(10 * time.Second)
		r.want(0, 2, 1)
		if got := r.store.attempts["dlv_000001"]; len(got) != 2 || got[1].Outcome != delivery.OutcomeProtocol || strings.Contains(got[1].Error, "oh no") {
			t.Errorf("attempts %+v", got)
		}
	})
}

// TestStoreDown: ends are kept while the store is away, and nothing is lost or sent twice.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		sent := map[string]int{}
		var mu sync.Mutex
		r := start(t, delivery.Config{}, func(ctx context.Context, r delivery.Request) delivery.Attempt {
			mu.Lock()
			sent[r.DeliveryID]++
			mu.Unlock()
			sleep(ctx, 100*time.Millisecond)
			return answer(200)
		}, a)
		r.publishMany(a, 100)
		r.store.mu.Lock()
		r.store.fail = func(string) error { return errors.New("down") }
		r.store.mu.Unlock()
		time.Sleep(40 * time.Second)
		r.want(100, 0, 0)
		r.store.mu.Lock()
		r.store.fail = func(string) error { return nil }
		r.store.mu.Unlock()
		time.Sleep(10 * time.Second)
		r.want(0, 100, 0)
		for id, n := range sent {
			if n != 1 {
				t.Errorf("%s sent %d times", id, n)
			}
		}
	})
}

// TestRefusedEnd: an end that the store will never take does not hold up the others.
func TestRefusedEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		r := start(t, delivery.Config{}, func(context.Context, delivery.Request) delivery.Attempt { return answer(200) }, a)
		r.store.refuse = "dlv_000003"
		r.publishMany(a, 5)
		time.Sleep(time.Minute)
		r.want(1, 4, 0)
	})
}

// TestStop: what is queued is given back at once, what is under way ends and is stored.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.MaxInFlight = 2
		r := start(t, delivery.Config{}, func(ctx context.Context, _ delivery.Request) delivery.Attempt {
			sleep(ctx, 3*time.Second)
			return answer(200)
		}, a)
		r.publishMany(a, 10)
		time.Sleep(time.Second)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("took %v", took)
		}
		r.want(8, 2, 0)
		for row := range r.store.all() {
			if row.lease != 0 || row.DueAt.After(time.Now()) {
				t.Errorf("%s is still leased, or due later", row.ID)
			}
		}
		if len(r.store.tokens) != 0 {
			t.Error("the lease was not given up")
		}
	})
}

// TestStopWithHangingReceiver: stopping takes no longer than it may.
func TestStopWithHangingReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		r := start(t, delivery.Config{}, func(ctx context.Context, _ delivery.Request) delivery.Attempt { return hang(ctx) }, a)
		r.publishMany(a, 3)
		time.Sleep(time.Second)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("took %v", took)
		}
		r.want(3, 0, 0)
		for row := range r.store.all() {
			if row.lease != 0 || row.DueAt.After(time.Now()) || row.Attempts != 1 {
				t.Errorf("%s: lease %d, due %v, attempts %d; want free, due at once, with its attempt", row.ID, row.lease, row.DueAt, row.Attempts)
			}
		}
	})
}

// TestStopDoesNotCount: an attempt that is cut short by the end of the process uses up nothing of the schedule.
func TestStopDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.Schedule = []time.Duration{0}
		store := newFakeStore()
		r := startOn(t, store, delivery.Config{}, func(ctx context.Context, _ delivery.Request) delivery.Attempt { return hang(ctx) }, a)
		r.publish(a, "emp_1")
		time.Sleep(time.Second)
		r.stop()
		r.want(1, 0, 0)
		r = startOn(t, store, delivery.Config{}, func(context.Context, delivery.Request) delivery.Attempt { return answer(500) }, a)
		time.Sleep(time.Minute)
		r.want(0, 0, 1)
		if got := store.attempts["dlv_000001"]; len(got) != 2 || got[1].Number != 2 {
			t.Errorf("attempts %+v", got)
		}
	})
}

// TestLeaseLost: a process that was away for long sends nothing of what others have taken over, and stores no end of it.
func TestLeaseLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.MaxInFlight = 1
		sent := 0
		r := start(t, delivery.Config{}, func(ctx context.Context, _ delivery.Request) delivery.Attempt {
			sent++
			sleep(ctx, 14*time.Second)
			return answer(200)
		}, a)
		r.publishMany(a, 3)
		time.Sleep(time.Second)
		r.store.mu.Lock()
		for token := range r.store.tokens {
			r.store.free(token)
		}
		for row := range r.store.all() {
			row.lease = 99 // taken over
		}
		r.store.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if sent != 1 {
			t.Errorf("%d sent, want the one that was under way", sent)
		}
		r.want(3, 0, 0)
		r.publishMany(a, 1)
		time.Sleep(time.Minute)
		r.want(3, 1, 0)
	})
}

// TestLeaseLostUnderANewHolder: that another holder has been entered says nothing of the older one, which others may have
// taken over.
func TestLeaseLostUnderANewHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.RatePerSec = 1
		sent := 0
		r := start(t, delivery.Config{}, func(context.Context, delivery.Request) delivery.Attempt { sent++; return answer(200) }, a)
		r.publishMany(a, 16)
		fail := func(works string) {
			r.store.mu.Lock()
			defer r.store.mu.Unlock()
			r.store.fail = func(op string) error {
				if op == works {
					return nil
				}
				return errors.New("away")
			}
		}
		fail("")
		r.Accept(r.Reserve(nil), nil, nil, nil, true) // so that a new holder is to take over
		time.Sleep(12 * time.Second)
		synctest.Wait()
		before := sent
		r.store.mu.Lock()
		clear(r.store.tokens)
		for row := range r.store.all() {
			row.lease = 99 // taken over
		}
		r.store.mu.Unlock()
		fail("enter")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if before == 0 || sent > before {
			t.Errorf("%d sent while the lease was sure, %d after", before, sent-before)
		}
		fail("")
	})
}

// TestUnsureLease: what a statement leased whose answer was lost is freed as soon as all that is known of has ended.
func TestUnsureLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		r := start(t, delivery.Config{}, func(ctx context.Context, _ delivery.Request) delivery.Attempt {
			sleep(ctx, time.Second)
			return answer(200)
		}, a)
		r.publishMany(a, 2)
		places := []delivery.Places{{Target: a, Wanted: 1}}
		token := r.Reserve(places)
		r.hold(a, 1)
		r.store.mu.Lock()
		r.store.rows["a"]["dlv_000003"].lease = token // and nobody learns of it
		r.store.mu.Unlock()
		r.Accept(token, places, nil, nil, true)
		time.Sleep(500 * time.Millisecond)
		r.publishMany(a, 2)
		time.Sleep(4 * time.Second)
		r.want(0, 5, 0)
		if n := len(r.store.tokens); n != 1 {
			t.Errorf("%d tokens, want a new one alone", n)
		}
	})
}

// TestLastToken: a holder gives out its last token, and another takes over.
func TestLastToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		r := start(t, delivery.Config{}, func(context.Context, delivery.Request) delivery.Attempt { return answer(200) }, a)
		r.Granted(1)
		r.publish(a, "emp_1")
		time.Sleep(3 * time.Second)
		r.want(0, 1, 0)
		r.publish(a, "emp_2")
		time.Sleep(3 * time.Second)
		r.want(0, 2, 0)
	})
}
