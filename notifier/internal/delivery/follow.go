package delivery

import (
	"context"
	"time"

	"hirewire.dev/notifier/internal/subscription"
)

// followSnapshots looks at each new snapshot at once, until ctx ends. Whoever holds the lock looks, too (refresh), so that
// nothing starts by an old one.
func (d *Dispatcher) followSnapshots(ctx context.Context) {
	for {
		changed := d.snapshots.Changed()
		d.look()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

func (d *Dispatcher) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.refresh(now)
	d.assign(now)
}

// refresh gives the lanes the newest snapshot, if they do not have it yet. The lock is held.
func (d *Dispatcher) refresh(now time.Time) {
	snapshot := d.snapshots.Current()
	if snapshot == d.snapshot {
		return
	}
	d.snapshot = snapshot
	for id, l := range d.lanes {
		t := snapshot.Targets[id]
		if t != l.target {
			d.show(l, t, now)
		}
		if t == nil && l.inFlight == 0 && l.timer == 0 {
			delete(d.lanes, id)
		}
	}
	for id, t := range snapshot.Targets {
		if d.lanes[id] == nil {
			l := newLane(t, now, d.rateShare())
			l.claim = l.open()
			d.lanes[id] = l
		}
	}
	poke(d.claimSoon)
}

// show gives one lane its new view. What it holds goes back when it may not be sent now. A lane that opens again begins at
// once, whatever its receiver asked for before.
func (d *Dispatcher) show(l *lane, t *subscription.Target, now time.Time) {
	was := l.open()
	l.show(t, now, d.rateShare())
	switch {
	case !l.open():
		d.putBack(l, 0)
	case !was:
		l.heldUntil, l.throttles = time.Time{}, 0
		l.claim = true
	}
	d.makeReady(l)
}

// rateShare is this replica's part of a subscription's rate.
func (d *Dispatcher) rateShare() float64 { return 1 / float64(max(d.replicas, 1)) }

// setReplicas divides the rates anew when replicas come or go.
func (d *Dispatcher) setReplicas(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n == d.replicas || n == 0 {
		return
	}
	d.replicas = n
	now := time.Now()
	for _, l := range d.lanes {
		if l.target != nil && l.target.RatePerSec > 0 {
			l.show(l.target, now, d.rateShare())
		}
	}
}

// reportGone tells of receivers that answered 410, until ctx ends.
func (d *Dispatcher) reportGone(ctx context.Context) {
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-d.goneSoon:
		}
		d.mu.Lock()
		gone := d.gone
		d.gone = nil
		d.mu.Unlock()
		for _, t := range gone {
			if d.health == nil {
				continue
			}
			if err := d.health.Gone(ctx, t.ID, t.URL); err != nil {
				d.log.WarnContext(ctx, "a subscription whose receiver is gone could not be disabled; trying on", "subscription_id", t.ID, "error", err)
				d.mu.Lock()
				d.gone = append(d.gone, t)
				d.mu.Unlock()
			}
		}
		if d.hasGone() {
			failures++
			if !pause(ctx, failures) {
				return
			}
			poke(d.goneSoon)
			continue
		}
		failures = 0
	}
}

func (d *Dispatcher) hasGone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.gone) > 0
}
