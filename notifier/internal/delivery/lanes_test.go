package delivery_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/subscription"
)

// gauge counts what is under way for each subscription.
type gauge struct {
	mu        sync.Mutex
	now, most map[string]int
	total     int
	mostTotal int
}

func newGauge() *gauge { return &gauge{now: map[string]int{}, most: map[string]int{}} }

func (g *gauge) begin(id string) func() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now[id]++
	g.total++
	g.most[id] = max(g.most[id], g.now[id])
	g.mostTotal = max(g.mostTotal, g.total)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.now[id]--
		g.total--
	}
}

// peak is the most that was under way for a subscription, and for all together.
func (g *gauge) peak(id string) (one, all int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most[id], g.mostTotal
}

// TestInFlight: a lane starts with few, and comes to all it may have when its receiver answers.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.MaxInFlight = 20
		g := newGauge()
		r := start(t, delivery.Config{}, func(ctx context.Context, r delivery.Request) delivery.Attempt {
			defer g.begin(r.Target.ID)()
			sleep(ctx, 100*time.Millisecond)
			return answer(200)
		}, a)
		r.publishMany(a, 100)
		time.Sleep(50 * time.Millisecond)
		if n, _ := g.peak("a"); n != 8 {
			t.Errorf("%d under way at first, want 8", n)
		}
		time.Sleep(10 * time.Second)
		r.publishMany(a, 300)
		time.Sleep(10 * time.Second)
		r.want(0, 400, 0)
		if n, _ := g.peak("a"); n != 20 {
			t.Errorf("%d under way at most, want 20", n)
		}
	})
}

// TestHangingReceiver: it is left with one attempt at a time, and is back to all when it answers again.
func TestHangingReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.Schedule = []time.Duration{
			0, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second,
			time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second,
		}
		g := newGauge()
		var mu sync.Mutex
		hangs := false
		r := start(t, delivery.Config{}, func(ctx context.Context, r delivery.Request) delivery.Attempt {
			defer g.begin(r.Target.ID)()
			mu.Lock()
			stuck := hangs
			mu.Unlock()
			if stuck {
				return hang(ctx)
			}
			sleep(ctx, 10*time.Millisecond)
			return answer(200)
		}, a)
		r.publishMany(a, 1000)
		time.Sleep(20 * time.Second)
		r.want(0, 1000, 0)
		mu.Lock()
		hangs = true
		mu.Unlock()
		r.publishMany(a, 500)
		time.Sleep(97 * time.Second) // in the middle of an attempt of 15 s
		g.mu.Lock()
		if g.most["a"] != 64 || g.now["a"] != 1 {
			t.Errorf("%d under way at most and %d after a while; want 64 and 1", g.most["a"], g.now["a"])
		}
		g.mu.Unlock()
		mu.Lock()
		hangs = false
		mu.Unlock()
		time.Sleep(30 * time.Second)
		r.want(0, 1500, 0)
	})
}

// TestIsolation: one of 50 receivers hangs while each gets 50 events a second; the others do not notice.
func TestIsolation(t *testing.T) {
	for _, hanging := range []int{0, 1, 25} {
		t.Run(fmt.Sprintf("%d of 50 hang", hanging), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var targets []*subscription.Target
				for i := range 50 {
					targets = append(targets, target(fmt.Sprintf("s%02d", i)))
				}
				var mu sync.Mutex
				var worst time.Duration
				g := newGauge()
				r := start(t, delivery.Config{MaxInFlight: 256}, func(ctx context.Context, r delivery.Request) delivery.Attempt {
					defer g.begin(r.Target.ID)()
					if r.Target.ID < fmt.Sprintf("s%02d", hanging) {
						return hang(ctx)
					}
					sleep(ctx, 5*time.Millisecond)
					mu.Lock()
					worst = max(worst, time.Since(publishedAt(r)))
					mu.Unlock()
					return answer(200)
				}, targets...)
				for range 50 * 20 {
					for _, s := range targets {
						r.publishMany(s, 1)
					}
					time.Sleep(20 * time.Millisecond)
				}
				mu.Lock()
				defer mu.Unlock()
				if worst > 100*time.Millisecond {
					t.Errorf("the slowest of the others took %v", worst)
				}
				if _, n := g.peak(""); n > 256 {
					t.Errorf("%d under way, more than allowed", n)
				}
			})
		})
	}
}

// publishedAt is when the rig published the event of a request: in a bubble time stands still while it does.
func publishedAt(r delivery.Request) time.Time { return r.Event.OccurredAt }

// TestRate: as many start in a second as the subscription allows, within a tenth, and its share where there are replicas.
func TestRate(t *testing.T) {
	for _, c := range []struct{ rate, replicas int }{{10, 1}, {100, 1}, {1000, 1}, {90, 3}} {
		t.Run(fmt.Sprintf("%d by %d", c.rate, c.replicas), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := target("a")
				a.RatePerSec = c.rate
				var mu sync.Mutex
				sent := 0
				r := start(t, delivery.Config{}, func(context.Context, delivery.Request) delivery.Attempt {
					mu.Lock()
					defer mu.Unlock()
					sent++
					return answer(200)
				}, a)
				r.store.mu.Lock()
				r.store.replicas = c.replicas
				r.store.mu.Unlock()
				time.Sleep(3 * time.Second)
				r.hold(a, 15*c.rate)
				time.Sleep(time.Second)
				mu.Lock()
				before := sent
				mu.Unlock()
				time.Sleep(10 * time.Second)
				mu.Lock()
				defer mu.Unlock()
				want := float64(10*c.rate) / float64(c.replicas)
				if got := float64(sent - before); math.Abs(got-want) > want/10+1 {
					t.Errorf("%v sent in ten seconds, want %v ±10 %%", got, want)
				}
			})
		})
	}
}

// TestRateIsSharedAtOnce: a replica knows from its beginning with how many it shares the rates, and when told, that there are
// more.
func TestRateIsSharedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.RatePerSec = 100
		var mu sync.Mutex
		sent := 0
		store := newFakeStore()
		store.replicas = 2
		r := startOn(t, store, delivery.Config{}, func(context.Context, delivery.Request) delivery.Attempt {
			mu.Lock()
			defer mu.Unlock()
			sent++
			return answer(200)
		}, a)
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			defer func() { sent = 0 }()
			return sent
		}
		r.hold(a, 500)
		r.Due(a.ID)
		time.Sleep(time.Second)
		if n := count(); n < 45 || n > 56 {
			t.Errorf("%d were sent in the first second, want 50", n)
		}
		store.mu.Lock()
		store.replicas = 4
		store.mu.Unlock()
		r.Recount()
		time.Sleep(time.Second)
		if n := count(); n < 22 || n > 28 {
			t.Errorf("%d were sent in a second with four replicas, want 25", n)
		}
	})
}

// TestBacklogDoesNotDelayFirstTries: what was held drains, and new events go past it.
func TestBacklogDoesNotDelayFirstTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.RatePerSec = 200
		var mu sync.Mutex
		var worst time.Duration
		r := start(t, delivery.Config{}, func(ctx context.Context, r delivery.Request) delivery.Attempt {
			sleep(ctx, 5*time.Millisecond)
			if r.Event.Type != "" { // by publish
				mu.Lock()
				worst = max(worst, time.Since(publishedAt(r)))
				mu.Unlock()
			}
			return answer(200)
		}, a)
		r.hold(a, 5000)
		time.Sleep(2 * time.Second)
		for range 50 * 10 {
			r.publishMany(a, 1)
			time.Sleep(20 * time.Millisecond)
		}
		mu.Lock()
		defer mu.Unlock()
		if worst > time.Second || worst == 0 {
			t.Errorf("a first try took %v", worst)
		}
		pending, _, _ := r.store.status()
		if drained := 5000 - pending; drained < 12*150-200 {
			t.Errorf("only %d of the backlog drained", drained)
		}
	})
}

// TestRetryDoesNotTakeTheLastPlace: retries that hang leave a place for first tries.
func TestRetryDoesNotTakeTheLastPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.MaxInFlight = 4
		var mu sync.Mutex
		var took time.Duration
		r := start(t, delivery.Config{}, func(ctx context.Context, r delivery.Request) delivery.Attempt {
			if r.Event.Type == "" {
				sleep(ctx, 14*time.Second)
				return answer(500)
			}
			mu.Lock()
			defer mu.Unlock()
			took = time.Since(publishedAt(r))
			return answer(200)
		}, a)
		r.hold(a, 100)
		time.Sleep(5 * time.Second)
		r.publishMany(a, 1)
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if took > 10*time.Millisecond {
			t.Errorf("the first try waited %v", took)
		}
		if _, delivered, _ := r.store.status(); delivered != 1 {
			t.Error("the first try was not sent")
		}
	})
}

// TestThrottle: Retry-After holds back all of the subscription, not only the event that was answered so.
func TestThrottle(t *testing.T) {
	for _, c := range []struct {
		name  string
		after time.Duration
		least time.Duration
		most  time.Duration
	}{
		{"7 s", 7 * time.Second, 7 * time.Second, 8100 * time.Millisecond},
		{"1 s", time.Second, time.Second, 2100 * time.Millisecond},
		{"unsaid", 0, 10 * time.Millisecond, 300 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := target("a"), target("b")
				a.MaxInFlight = 1
				var mu sync.Mutex
				var times []time.Time
				r := start(t, delivery.Config{}, func(_ context.Context, r delivery.Request) delivery.Attempt {
					if r.Target.ID == "b" {
						return answer(200)
					}
					mu.Lock()
					defer mu.Unlock()
					if times = append(times, time.Now()); len(times) == 1 {
						at := answer(503)
						at.RetryAfter = c.after
						return at
					}
					return answer(200)
				}, a, b)
				r.publishMany(a, 5)
				synctest.Wait()
				r.publishMany(a, 5)
				r.publishMany(b, 5)
				time.Sleep(20 * time.Second)
				r.want(0, 15, 0)
				mu.Lock()
				defer mu.Unlock()
				if wait := times[1].Sub(times[0]); wait < c.least || wait > c.most {
					t.Errorf("the next attempt of the subscription came after %v", wait)
				}
			})
		})
	}
}

// TestThrottledForLong: a receiver that goes on asking for less is asked ever more rarely, and comes back at once.
func TestThrottledForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := target("a")
		a.Schedule = make([]time.Duration, 1000)
		var mu sync.Mutex
		attempts, busy := 0, true
		r := start(t, delivery.Config{}, func(context.Context, delivery.Request) delivery.Attempt {
			mu.Lock()
			defer mu.Unlock()
			attempts++
			if busy {
				return answer(429)
			}
			return answer(200)
		}, a)
		r.publishMany(a, 500)
		time.Sleep(time.Minute)
		mu.Lock()
		if attempts > 300 {
			t.Errorf("%d attempts in a minute", attempts)
		}
		busy = false
		mu.Unlock()
		time.Sleep(3 * time.Second)
		r.want(0, 500, 0)
	})
}

// TestBounds: however much is due, only so much is held in memory.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var targets []*subscription.Target
		for i := range 100 {
			targets = append(targets, target(fmt.Sprintf("s%02d", i)))
		}
		g := newGauge()
		r := start(t, delivery.Config{MaxInFlight: 64, MaxHeld: 200}, func(ctx context.Context, r delivery.Request) delivery.Attempt {
			defer g.begin(r.Target.ID)()
			return hang(ctx)
		}, targets...)
		for _, s := range targets {
			r.publishMany(s, 10)
			r.hold(s, 10)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.store.mu.Lock()
		defer r.store.mu.Unlock()
		held := 0
		for row := range r.store.all() {
			if row.lease != 0 {
				held++
			}
		}
		if held > 200 {
			t.Errorf("%d held, want 200 at most", held)
		}
		if _, n := g.peak(""); n > 64 {
			t.Errorf("%d under way, want 64 at most", n)
		}
	})
}

// TestHoldEnds: what a receiver asked for ends with it, and when its subscription goes on after a pause.
func TestHoldEnds(t *testing.T) {
	status := func(s subscription.Status) func(*subscription.Target) *subscription.Target {
		return func(t *subscription.Target) *subscription.Target { t.Status = s; return t }
	}
	for _, c := range []struct {
		name string
		how  func(r *rig)
	}{
		{"the URL changes while it answers", func(r *rig) {
			time.Sleep(time.Second)
			r.snapshots.change("a", func(s *subscription.Target) *subscription.Target { s.URL = "https://new.test/"; return s })
			time.Sleep(10 * time.Second)
		}},
		{"the URL changes after it answered", func(r *rig) {
			time.Sleep(10 * time.Second)
			r.snapshots.change("a", func(s *subscription.Target) *subscription.Target { s.URL = "https://new.test/"; return s })
		}},
		{"it is paused and resumed", func(r *rig) {
			time.Sleep(10 * time.Second)
			r.snapshots.change("a", status(subscription.Paused))
			time.Sleep(time.Second)
			r.snapshots.change("a", status(subscription.Active))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := target("a")
				sent := 0
				r := start(t, delivery.Config{}, func(ctx context.Context, _ delivery.Request) delivery.Attempt {
					if sent++; sent > 1 {
						return answer(200)
					}
					sleep(ctx, 5*time.Second)
					held := answer(503)
					held.RetryAfter = 24 * time.Hour
					return held
				}, a)
				r.publish(a, "emp_1")
				c.how(r)
				synctest.Wait()
				r.publish(r.snapshots.Current().Targets["a"], "emp_2")
				time.Sleep(5 * time.Second)
				r.want(1, 1, 0)
			})
		})
	}
}
