package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// ends is what is to be stored: how attempts ended, and leases given back.
type ends struct {
	soon    chan struct{}
	drained chan struct{} // closed once closing and nothing is left

	mu       sync.Mutex
	finished []Finished
	released []Released
	hurry    bool // somebody waits in line for one of them
	closing  bool
}

// atOnce is how many ends are stored in one go at most.
const atOnce = 1024

func (e *ends) init() { e.soon, e.drained = make(chan struct{}, 1), make(chan struct{}) }

// add has an end stored; hurry: somebody waits for it.
func (e *ends) add(f Finished, hurry bool) {
	e.mu.Lock()
	e.finished = append(e.finished, f)
	n := len(e.finished)
	first := hurry && !e.hurry
	e.hurry = e.hurry || hurry
	e.mu.Unlock()
	if n == 1 || n == atOnce/2 || first {
		poke(e.soon)
	}
}

func (e *ends) release(r Released) {
	e.mu.Lock()
	e.released = append(e.released, r)
	n := len(e.released)
	e.mu.Unlock()
	if n == 1 {
		poke(e.soon)
	}
}

// take gives what is to be stored next, into spare where it has room.
func (e *ends) take(spare []Finished) (finished []Finished, released []Released, closing bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hurry = false
	if len(e.finished) <= atOnce {
		finished, e.finished = e.finished, spare[:0]
	} else {
		finished = append(finished, e.finished[:atOnce]...)
		e.finished = append(e.finished[:0], e.finished[atOnce:]...)
	}
	n := min(len(e.released), atOnce)
	released = append(released, e.released[:n]...)
	e.released = append(e.released[:0], e.released[n:]...)
	return finished, released, e.closing
}

// many says that there is a batch's worth.
func (e *ends) many() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.finished) >= atOnce/2 || e.closing
}

func (e *ends) urgent() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hurry
}

// drain waits until everything is stored, or given up.
func (e *ends) drain() {
	e.mu.Lock()
	e.closing = true
	e.mu.Unlock()
	poke(e.soon)
	<-e.drained
}

// storeEnds stores until drained, or ctx ends.
func (d *Dispatcher) storeEnds(ctx context.Context) {
	defer close(d.ends.drained)
	var last time.Time
	var spare []Finished
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.ends.soon:
		}
		d.gather(ctx, last)
		finished, released, closing := d.ends.take(spare)
		if !d.storeFinished(ctx, finished) || !d.storeReleased(ctx, released) {
			return
		}
		last = time.Now()
		if closing && len(finished)+len(released) == 0 {
			return
		}
		if closing || len(finished) >= atOnce || len(released) >= atOnce {
			poke(d.ends.soon)
		}
		clear(finished)
		spare = finished[:0]
	}
}

// quiet is how many times FlushEvery without anything to store make a lone end one to store at once.
const quiet = 10

// gather waits a little for more while there is something to store again and again: many in one statement cost little more
// than one. Where somebody waits in line for an end it waits less.
func (d *Dispatcher) gather(ctx context.Context, last time.Time) {
	if time.Since(last) > quiet*d.conf.FlushEvery {
		return
	}
	wait := d.conf.FlushEvery
	if d.ends.urgent() {
		wait = min(wait, urgently)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for !d.ends.many() {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-d.ends.soon:
			if d.ends.urgent() {
				timer.Reset(urgently)
			}
		}
	}
}

// urgently is how long ends are gathered that others wait for.
const urgently = 2 * time.Millisecond

// storeFinished stores a batch, however long that takes; false if ctx ended before. A batch that the store refuses is
// halved until the one that it refuses is found, and left alone: it stays leased, and so is parked, until this process ends.
func (d *Dispatcher) storeFinished(ctx context.Context, batch []Finished) bool {
	if len(batch) == 0 {
		return true
	}
	for failures := 0; ; failures++ {
		held, woken, err := d.finishOnce(ctx, batch)
		switch {
		case err == nil:
			d.stored(ctx, batch, held, woken, failures > 0)
			return true
		case errors.Is(err, ErrRefused) && len(batch) > 1:
			half := len(batch) / 2
			return d.storeFinished(ctx, batch[:half]) && d.storeFinished(ctx, batch[half:])
		case errors.Is(err, ErrRefused):
			d.log.ErrorContext(ctx, "the end of an attempt is refused by the store; its delivery is parked", "delivery_id", batch[0].ID, "error", err)
			d.forget(1)
			return true
		}
		if failures == 0 && ctx.Err() == nil {
			d.log.WarnContext(ctx, "finished attempts cannot be stored; trying on", "attempts", len(batch), "error", err)
		}
		if !pause(ctx, failures) {
			return false
		}
	}
}

func (d *Dispatcher) finishOnce(ctx context.Context, batch []Finished) (held []bool, woken []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	return d.store.Finish(ctx, batch)
}

// pause waits before a call of the store is repeated; false if ctx ended.
func pause(ctx context.Context, failures int) bool {
	timer := time.NewTimer(jittered(min(20*time.Millisecond<<min(failures, 6), time.Second)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// stored goes on after a batch was stored. repeated: an earlier call may have stored it, so what does not hold now may have
// held then.
//
// What was repeated is reported even if it does not hold: it was most likely stored the first time.
func (d *Dispatcher) stored(ctx context.Context, batch []Finished, held []bool, woken []string, repeated bool) {
	now := time.Now()
	results := make([]Result, 0, len(batch))
	for i := range batch {
		f := &batch[i]
		d.lease.forget(f.Token, 1)
		if !held[i] && !repeated || f.Attempt.Number == 0 {
			continue
		}
		r := Result{Delivery: f.Delivery, Attempt: f.Attempt, Event: f.Event}
		r.Delivery.Status, r.Delivery.Attempts = f.Status, f.Attempt.Number
		if f.Status == Pending {
			r.Delivery.DueAt = f.Attempt.StartedAt.Add(f.Attempt.Duration + f.Wait)
		} else {
			r.Delivery.FinishedAt = f.Attempt.StartedAt.Add(f.Attempt.Duration)
		}
		results = append(results, r)
		d.logAttempt(ctx, &r)
	}
	d.mu.Lock()
	d.held -= len(batch)
	for i := range batch {
		if f := &batch[i]; f.Status == Pending && held[i] {
			if l := d.lanes[f.SubscriptionID]; l != nil {
				d.dueAt(l, now.Add(f.Wait))
			}
		}
	}
	for _, id := range woken {
		if l := d.lanes[id]; l != nil {
			l.claim = true
			l.linedUp = now
			poke(d.claimSoon)
		}
	}
	d.mu.Unlock()
	if len(results) > 0 {
		for _, o := range d.observers {
			o.Observe(results)
		}
	}
}

// logAttempt writes a line for each attempt; for the many that go well, only where somebody looks for it.
func (d *Dispatcher) logAttempt(ctx context.Context, r *Result) {
	level := slog.LevelInfo
	if r.Delivery.Status == Delivered {
		level = slog.LevelDebug
	}
	if !d.log.Enabled(ctx, level) {
		return
	}
	d.log.LogAttrs(ctx, level, "delivery attempted",
		slog.String("delivery_id", r.Delivery.ID), slog.String("event_id", r.Delivery.EventID), slog.String("subscription_id", r.Delivery.SubscriptionID),
		slog.Int("attempt", r.Attempt.Number), slog.String("outcome", string(r.Attempt.Outcome)), slog.Int("status_code", r.Attempt.StatusCode),
		slog.Duration("duration", r.Attempt.Duration), slog.String("status", string(r.Delivery.Status)), slog.String("error", r.Attempt.Error))
}

// storeReleased gives leases back, however long that takes; false if ctx ended before.
func (d *Dispatcher) storeReleased(ctx context.Context, batch []Released) bool {
	if len(batch) == 0 {
		return true
	}
	for failures := 0; ; failures++ {
		err := d.releaseOnce(ctx, batch)
		if err == nil {
			break
		}
		if failures == 0 && ctx.Err() == nil {
			d.log.WarnContext(ctx, "leases cannot be given back; trying on", "deliveries", len(batch), "error", err)
		}
		if !pause(ctx, failures) {
			return false
		}
	}
	for _, r := range batch {
		d.lease.forget(r.Token, 1)
	}
	d.forget(len(batch))
	return true
}

func (d *Dispatcher) releaseOnce(ctx context.Context, batch []Released) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	return d.store.Release(ctx, batch)
}

func (d *Dispatcher) forget(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held -= n
}
