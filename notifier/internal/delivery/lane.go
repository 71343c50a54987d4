package delivery

import (
	"slices"
	"time"

	"hirewire.dev/notifier/internal/subscription"
)

// lane is what one subscription has under way in this process. The dispatcher's lock guards it.
type lane struct {
	id     string
	target *subscription.Target // as of the dispatcher's snapshot; nil once deleted

	// First tries that came straight from ingest, and what was claimed: retries, and what was held or found no room. They
	// are served in turn, so that neither waits for all of the other.
	fresh, backlog fifo[Leased]
	backlogNext    bool
	reserved       int // places in fresh that ingest has been promised

	inFlight  int
	limit     limit
	bucket    bucket
	heldUntil time.Time            // throttled
	throttles int                  // in a row
	gone      *subscription.Target // who answered 410; the snapshot does not show it yet

	linedUp   time.Time // when something was last seen to wait in line for something earlier
	ready     bool      // in the dispatcher's round
	claim     bool      // something may be due in the store
	claimedAt time.Time
	dueTimes  []time.Time // when something will be, the soonest first
	timer     int         // its place among the timers, from 1; 0: none
	wakeAt    time.Time   // when the timer ends
}

func newLane(t *subscription.Target, now time.Time, rateShare float64) *lane {
	l := &lane{id: t.ID, limit: newLimit(maxInFlight(t))}
	l.show(t, now, rateShare)
	return l
}

func maxInFlight(t *subscription.Target) int {
	if t.MaxInFlight > 0 {
		return t.MaxInFlight
	}
	return subscription.DefaultMaxInFlight
}

// show gives the lane a new view of its subscription, and its share of the rate.
func (l *lane) show(t *subscription.Target, now time.Time, rateShare float64) {
	if l.gone != nil && t != nil && !same(l.gone, t) {
		l.gone = nil
	}
	if l.target != nil && t != nil && t.URL != l.target.URL { // another receiver: nothing is known of it
		l.limit = newLimit(maxInFlight(t))
		l.heldUntil, l.throttles = time.Time{}, 0
	}
	l.target = t
	if t != nil {
		l.limit.setMax(maxInFlight(t))
		l.bucket.setRate(float64(t.RatePerSec)*rateShare, now)
	}
}

// open says whether anything may be sent.
func (l *lane) open() bool {
	return l.target != nil && l.target.Status == subscription.Active && l.gone == nil
}

// Room in the lane's queues, for each: some rounds of what it can have under way, so that a slow lane holds little.
const (
	minRoom    = 16
	maxRoom    = 1024
	roomRounds = 16
	// roomTime is how long a lane with a rate takes to send what it has room for: of few employees in line, none is left for
	// the other replicas if one of them holds all the firsts.
	roomTime = 200 * time.Millisecond
)

func (l *lane) capacity() int {
	room := roomRounds * int(l.limit.now)
	if l.bucket.rate > 0 {
		room = min(room, int(l.bucket.rate*roomTime.Seconds()))
	}
	return min(max(room, minRoom), maxRoom)
}

// freshRoom is how many first tries it can take.
func (l *lane) freshRoom(now time.Time) int {
	if !l.open() || l.heldUntil.Sub(now) > time.Second {
		return 0
	}
	return max(l.capacity()-l.fresh.len()-l.reserved, 0)
}

// claimRoom is how many to claim; 0 while more than half of the queue is full, so that claims are few and large.
func (l *lane) claimRoom(now time.Time) int {
	if !l.open() || l.heldUntil.After(now) {
		return 0
	}
	capacity := min(l.capacity(), maxRoom/2)
	if l.backlog.len() > capacity/2 {
		return 0
	}
	return capacity - l.backlog.len()
}

// sendable says whether anything may start now, by what is queued and under way.
func (l *lane) sendable() bool {
	if !l.open() || !l.limit.allows(l.inFlight) {
		return false
	}
	return l.fresh.len() > 0 || l.backlog.len() > 0 && l.mayServeBacklog()
}

// mayServeBacklog keeps one place for first tries: a retry that takes long must not keep them waiting.
func (l *lane) mayServeBacklog() bool {
	return l.limit.now < 2 || float64(l.inFlight+1) < l.limit.now
}

// pop takes the next one to send; the lane is sendable.
func (l *lane) pop() Leased {
	if l.fresh.len() == 0 || l.backlogNext && l.backlog.len() > 0 && l.mayServeBacklog() {
		l.backlogNext = false
		return l.backlog.pop()
	}
	l.backlogNext = true
	return l.fresh.pop()
}

// maxDueTimes bounds what a lane remembers of its retries; the others are found by the poll.
const maxDueTimes = 64

// due remembers that something is due then.
func (l *lane) due(at time.Time) {
	i, _ := slices.BinarySearchFunc(l.dueTimes, at, time.Time.Compare)
	if i == maxDueTimes {
		return
	}
	l.dueTimes = slices.Insert(l.dueTimes, i, at)
	if len(l.dueTimes) > maxDueTimes {
		l.dueTimes = l.dueTimes[:maxDueTimes]
	}
}

// passed forgets the due times that have come, and says whether there were any.
func (l *lane) passed(now time.Time) bool {
	n := 0
	for n < len(l.dueTimes) && !l.dueTimes[n].After(now) {
		n++
	}
	l.dueTimes = slices.Delete(l.dueTimes, 0, n)
	return n > 0
}
