package delivery

import (
	"math/rand/v2"
	"time"

	"hirewire.dev/notifier/internal/subscription"
)

func luck() float64 { return rand.Float64() } //nolint:gosec // Nothing is guessed from it.

// pick takes the next attempt to make: of the lanes that can send, the one whose turn it is. The lock is held.
func (d *Dispatcher) pick(now time.Time) (job, bool) {
	if d.stopping || d.inFlight >= d.conf.MaxInFlight {
		return job{}, false
	}
	d.refresh(now)
	for d.round.len() > 0 {
		l := d.round.pop()
		l.ready = false
		if !l.sendable() || l.inFlight >= d.share() {
			continue
		}
		if wait := l.heldUntil.Sub(now); wait > 0 {
			d.arm(l, l.heldUntil)
			continue
		}
		if wait := l.bucket.take(now); wait > 0 {
			d.arm(l, now.Add(wait))
			continue
		}
		item := l.pop()
		if !d.lease.holding(item.Token) {
			d.unheld(l, item, now)
			continue
		}
		l.inFlight++
		d.inFlight++
		d.makeReady(l)
		if l.claim && l.claimRoom(now) > 0 {
			poke(d.claimSoon)
		}
		return job{lane: l, target: l.target, item: item, start: now}, true
	}
	return job{}, false
}

// share is how many attempts one lane may have under way: half of what is left for all. So there is always a place left
// for a lane that has none, however many others hang.
func (d *Dispatcher) share() int { return max((d.conf.MaxInFlight-d.inFlight)/2, 1) }

// unheld deals with an item whose lease is not sure: while the store is out of reach nobody knows who will have it, so it
// waits for that.
func (d *Dispatcher) unheld(l *lane, item Leased, now time.Time) {
	if !d.lease.knows(item.Token) {
		d.held--
		d.makeReady(l)
		return
	}
	l.backlog.push(item)
	d.arm(l, now.Add(d.conf.LeaseTTL/10))
}

// makeReady lets the lane take part in the round if it can send.
func (d *Dispatcher) makeReady(l *lane) {
	if !l.ready && l.sendable() {
		l.ready = true
		d.round.push(l)
	}
}

// settle takes what an attempt says about the receiver to heart. The lock is held.
func (d *Dispatcher) settle(j *job, a Attempt, next Decision, now time.Time) {
	l := j.lane
	l.inFlight--
	d.inFlight--
	defer d.makeReady(l)
	if l.target == nil || l.target.URL != j.target.URL {
		return // another receiver's answer
	}
	switch a.Outcome {
	case OutcomeDelivered:
		l.limit.success()
		l.throttles = 0
	case OutcomeThrottled, OutcomeTimeout, OutcomeConnection, OutcomeTLS, OutcomeDNS:
		l.limit.failure(j.start, now)
	case OutcomeRejected, OutcomeGone, OutcomeBlocked, OutcomeProtocol:
		l.throttles = 0 // it answers, or was never asked: no reason for fewer at once
	}
	if next.Slow {
		l.throttles++
		d.hold(l, next.Hold, now)
	}
	if next.Disable && same(l.target, j.target) {
		l.gone = j.target
		d.gone = append(d.gone, j.target)
		poke(d.goneSoon)
		d.putBack(l, 0)
	}
}

// same says whether two views of a subscription are of the same revision of it.
func same(a, b *subscription.Target) bool {
	return a != nil && b != nil && a.URL == b.URL && a.Revision == b.Revision
}

// keptWhileHeld is how long a hold may be for what is queued to stay in memory meanwhile.
const keptWhileHeld = 2 * time.Second

// hold leaves the receiver alone for a while.
func (d *Dispatcher) hold(l *lane, asked time.Duration, now time.Time) {
	if asked == 0 {
		asked = pace(l.throttles)
	}
	if until := now.Add(asked); until.After(l.heldUntil) {
		l.heldUntil = until
		l.claim = true
		d.arm(l, until)
	}
	if asked > keptWhileHeld {
		d.putBack(l, asked)
	}
}
