package delivery

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"hirewire.dev/notifier/internal/subscription"
)

// workers are the goroutines that make attempts: as many as are under way, and those that have lately been idle, whose
// stacks have grown to what an attempt needs.
type workers struct {
	ctx   context.Context //nolint:containedctx // lives as long as the workers
	group sync.WaitGroup
	idle  []chan job // the last one idle is the first one used
}

// idleFor is how long a worker waits for work before it ends.
const idleFor = 10 * time.Second

// job is one attempt to make.
type job struct {
	lane   *lane
	target *subscription.Target
	item   Leased
	start  time.Time
}

func (d *Dispatcher) startWorkers(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.workers.ctx = ctx //nolint:fatcontext // it is set once, for goroutines that start later
}

// dismiss ends the workers that are idle. The dispatcher's lock is held.
func (w *workers) dismiss() {
	for _, c := range w.idle {
		close(c)
	}
	w.idle = nil
}

// kick gives work to workers as far as there is.
func (d *Dispatcher) kick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.assign(time.Now())
}

// assign is kick with the lock held.
func (d *Dispatcher) assign(now time.Time) {
	w := &d.workers
	for w.ctx != nil {
		j, ok := d.pick(now)
		if !ok {
			return
		}
		if n := len(w.idle); n > 0 {
			w.idle[n-1] <- j
			w.idle = w.idle[:n-1]
			continue
		}
		w.group.Go(func() { d.work(w.ctx, j) })
	}
}

// work makes attempts until there has been nothing to do for a while.
func (d *Dispatcher) work(ctx context.Context, j job) {
	timer := time.NewTimer(idleFor)
	defer timer.Stop()
	mine := make(chan job, 1)
	for ok := true; ok; {
		a := d.attempt(ctx, &j)
		if j, ok = d.finish(ctx, &j, a, mine); ok {
			continue
		}
		timer.Reset(idleFor)
		select {
		case j, ok = <-mine:
		case <-timer.C:
			if d.retire(mine) {
				return
			}
			j, ok = <-mine
		}
	}
}

// retire takes a worker off the list; false if it has just been given a job, or dismissed.
func (d *Dispatcher) retire(mine chan job) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, c := range d.workers.idle {
		if c == mine {
			d.workers.idle = append(d.workers.idle[:i], d.workers.idle[i+1:]...)
			return true
		}
	}
	return false
}

// attempt sends. A sender that panics has failed this one attempt, and nothing else.
func (d *Dispatcher) attempt(ctx context.Context, j *job) (a Attempt) {
	started := time.Now().UTC().Truncate(time.Microsecond)
	defer func() {
		if v := recover(); v != nil {
			d.log.ErrorContext(ctx, "panic in an attempt", "delivery_id", j.item.ID, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			a = Attempt{Outcome: OutcomeProtocol, Error: "internal error"}
		}
		a.Number = j.item.Attempts + 1
		if a.StartedAt.IsZero() {
			a.StartedAt = started
		}
		a.Error, a.Snippet = storable(a.Error), storable(a.Snippet)
	}()
	return d.sender.Send(ctx, Request{Target: j.target, DeliveryID: j.item.ID, Event: j.item.Event, Attempt: j.item.Attempts + 1})
}

// storable makes a text one that every database takes.
func storable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsRune(s, 0) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "")
}

// linedUpFor is how long after something was seen to wait in line in a lane its ends are stored at once.
const linedUpFor = time.Second

// finish notes how an attempt ended, and gives the worker its next job if there is one; else the worker is idle.
func (d *Dispatcher) finish(ctx context.Context, j *job, a Attempt, mine chan job) (next job, ok bool) {
	decision := Next(a, d.schedule(j.target), a.Number-j.item.Base, luck())
	if ctx.Err() != nil && a.StatusCode == 0 {
		// Cut short by the end of this process: another may try at once, and as often as if this had not been.
		decision = Decision{Status: Pending}
		j.item.Base++
	}
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ends.add(Finished{
		Leased: j.item, Attempt: a, Status: decision.Status, Wait: decision.Wait, Ordered: ordered(j.target),
	}, now.Sub(j.lane.linedUp) < linedUpFor)
	d.settle(j, a, decision, now)
	if next, ok = d.pick(now); ok {
		d.assign(now)
		return next, true
	}
	if !d.stopping {
		d.workers.idle = append(d.workers.idle, mine)
	} else {
		close(mine)
	}
	return job{}, false
}

func (d *Dispatcher) schedule(t *subscription.Target) []time.Duration {
	if len(t.Schedule) > 0 {
		return t.Schedule
	}
	return d.conf.Schedule
}

func ordered(t *subscription.Target) bool { return t.Ordering != subscription.Unordered }
