package inbox

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// work applies what comes into a lane until the lane is closed and empty, or
// ctx is done.
func (b *Inbox) work(ctx context.Context, l *lane) {
	busy := false
	for ctx.Err() == nil {
		if busy {
			b.gatherWork(ctx, l)
		}
		batch := l.take()
		if len(batch) == 0 {
			busy = false
			if n, closed := l.state(); closed && n == 0 {
				return
			}
			select {
			case <-l.ready:
			case <-ctx.Done():
			}
			continue
		}
		busy = len(batch) > 1
		b.apply(ctx, l, batch)
	}
}

// gatherWork waits a little for a fuller batch, when events come faster than
// one at a time: each transaction has its price. A lone event never waits.
func (b *Inbox) gatherWork(ctx context.Context, l *lane) {
	timer := time.NewTimer(b.config.Linger)
	defer timer.Stop()
	for {
		if n, closed := l.state(); n == 0 || n >= int(l.limit.Load()/2) || closed {
			return
		}
		select {
		case <-l.ready:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// apply brings a batch from one lane to its end: each item is marked in the
// table, given back, or left to the end of its lease.
func (b *Inbox) apply(ctx context.Context, l *lane, batch []*item) {
	run := &run{b: b, lane: l}
	// What was given back and claimed again comes behind what arrived meanwhile.
	slices.SortFunc(batch, bySeq)
	for _, it := range batch {
		run.again = run.again || it.claimed
	}
	run.left(batch)
	batch = run.dropStale(batch)
	n, began := len(batch), time.Now()
	batch = run.sortOut(ctx, batch)
	prepared := time.Now()
	run.apply(ctx, batch)
	if n > 0 {
		b.pace(l, n, prepared.Sub(began), time.Since(prepared), run.tooSlow)
	}
	run.finish(ctx)
	// Behind a claimed row there may be others of its key, which only a claim
	// finds.
	if run.again {
		b.nudge()
	}
}

// run is the work on one batch.
type run struct {
	b    *Inbox
	lane *lane
	// held are keys of which an event is not done: later ones must wait.
	held map[string]bool
	// back are items to be given back.
	back  []*item
	again bool
	count int // items that left the lane
	// tooSlow: the batch was more than fits into HandlerTimeout.
	tooSlow bool
}

// left notes that items have left the lane for good.
func (r *run) left(items []*item) {
	r.count += len(items)
	for _, it := range items {
		r.b.held.Add(-it.size())
	}
}

// dropStale gives back what has waited so long that its lease may end before
// the work does: whoever claims it has a whole lease for it.
func (r *run) dropStale(batch []*item) []*item {
	at, lost := now(), 0
	limit := at.Add(r.b.config.Lease * 3 / 4)
	stale := func(it *item) bool {
		if it.until.Before(at) {
			lost++
		}
		if it.until.Before(limit) {
			r.mark(it.event.Subject.Key)
			return true
		}
		return r.held[it.event.Subject.Key]
	}
	kept := batch[:0]
	for _, it := range batch {
		if stale(it) {
			r.back = append(r.back, it)
		} else {
			kept = append(kept, it)
		}
	}
	if len(r.back) > 0 {
		r.backFromLane(stale)
	}
	if lost > 0 {
		r.b.config.Observe(Observation{What: LeaseLost, Count: lost})
	}
	return kept
}

// sortOut deals with what cannot be understood and lets the application
// prepare the rest.
func (r *run) sortOut(ctx context.Context, batch []*item) []*item {
	var events []*Event
	for _, it := range batch {
		it.event.Attempt = it.attempts + 1
		if it.broken != nil {
			it.event.failure = fmt.Errorf("%w: %w", ErrPoison, it.broken)
		} else {
			events = append(events, it.event)
		}
	}
	if r.b.config.Prepare != nil && len(events) > 0 {
		r.prepare(ctx, events)
	}
	kept := batch[:0]
	for _, it := range batch {
		switch {
		case r.held[it.event.Subject.Key]:
			r.back = append(r.back, it)
		case it.event.failure != nil:
			r.fail(ctx, it, it.event.failure)
		case r.tooSlow && len(batch) > 1:
			r.putBack(it)
		default:
			kept = append(kept, it)
		}
	}
	return kept
}

// prepare calls Prepare for a batch. A panic fails the events one by one, so
// that only the one to blame is failed by it.
func (r *run) prepare(ctx context.Context, events []*Event) {
	ctx, cancel := context.WithTimeout(ctx, r.b.config.HandlerTimeout)
	defer cancel()
	err := recovered(func() error {
		r.b.config.Prepare(ctx, events)
		return nil
	})
	r.tooSlow = r.tooSlow || ctx.Err() != nil
	switch {
	case err == nil:
	case len(events) == 1:
		events[0].failure = err
	default:
		for _, e := range events {
			e.failure = nil
			r.prepare(ctx, []*Event{e})
		}
	}
}

// apply applies items in one transaction; if that fails, it tries the halves,
// in order, until what is to blame stands alone.
func (r *run) apply(ctx context.Context, items []*item) {
	items = r.withoutHeld(items)
	if len(items) == 0 {
		return
	}
	err := r.transact(ctx, items)
	switch {
	case err == nil:
		r.done(items)
	case errors.Is(err, errLeft) && ctx.Err() != nil:
		r.back = append(r.back, items...)
	case errors.Is(err, errLeft):
	case errors.Is(err, errSlow) && len(items) > 1:
		// Too little may be left of the leases for the halves.
		r.tooSlow = true
		for _, it := range items {
			r.putBack(it)
		}
	case len(items) > 1:
		half := len(items) / 2
		r.apply(ctx, items[:half])
		r.apply(ctx, items[half:])
	case errors.Is(err, errFenced):
		r.b.config.Observe(Observation{What: LeaseLost, Count: 1, ID: items[0].event.ID})
		r.putBack(items[0])
	default:
		r.fail(ctx, items[0], err)
	}
}

func (r *run) withoutHeld(items []*item) []*item {
	if len(r.held) == 0 {
		return items
	}
	kept := make([]*item, 0, len(items))
	for _, it := range items {
		if r.held[it.event.Subject.Key] {
			r.back = append(r.back, it)
		} else {
			kept = append(kept, it)
		}
	}
	return kept
}

// putBack gives an item back, and what must wait for it.
func (r *run) putBack(it *item) {
	r.hold(it)
	r.back = append(r.back, it)
}

// hold keeps later events of the key from overtaking: those of this batch, and
// those already in line behind it.
func (r *run) hold(it *item) {
	if key := it.event.Subject.Key; key != "" {
		r.mark(key)
		r.backFromLane(func(it *item) bool { return it.event.Subject.Key == key })
	}
}

func (r *run) mark(key string) {
	if r.held == nil {
		r.held = map[string]bool{}
	}
	if key != "" {
		r.held[key] = true
	}
}

func (r *run) backFromLane(match func(*item) bool) {
	items := r.lane.takeIf(match)
	r.left(items)
	r.back = append(r.back, items...)
}

func (r *run) done(items []*item) {
	var processed, ignored int
	oldest := items[0].event.ReceivedAt
	for _, it := range items {
		if it.event.ignored {
			ignored++
		} else {
			processed++
		}
		if it.event.ReceivedAt.Before(oldest) {
			oldest = it.event.ReceivedAt
		}
	}
	if processed > 0 {
		r.b.config.Observe(Observation{What: Processed, Count: processed, Age: time.Since(oldest)})
	}
	if ignored > 0 {
		r.b.config.Observe(Observation{What: Ignored, Count: ignored})
	}
}

// finish gives back what was held, and the room in memory.
func (r *run) finish(ctx context.Context) {
	if len(r.back) > 0 {
		r.again = true
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.b.config.CommitTimeout)
		defer cancel()
		if err := r.b.backend.giveBack(ctx, r.back, now()); err != nil {
			// Their leases end by themselves.
			r.b.config.Observe(Observation{What: Unavailable, Err: err})
		}
	}
	r.b.release(r.count)
}

// panicError is a panic of the application as an error.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func recovered(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicError{value: value, stack: debug.Stack()}
		}
	}()
	return f()
}
