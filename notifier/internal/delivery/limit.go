package delivery

import (
	"time"
)

// limit is how many deliveries of a lane may be under way at once: it grows while the receiver answers, first quickly (slow
// start), then by one for each round, and shrinks when it does not (AIMD, as TCP does). A receiver that hangs is soon left
// with one, and cannot take up what others need.
type limit struct {
	max       float64
	now       float64
	threshold float64 // where slow start ends
	shrunk    time.Time
	streak    int // failures without a success in between
}

const firstLimit = 8

func newLimit(most int) limit {
	return limit{max: float64(most), now: min(firstLimit, float64(most)), threshold: float64(most)}
}

func (l *limit) setMax(most int) {
	l.max = float64(most)
	l.now = min(l.now, l.max)
	l.threshold = min(max(l.threshold, l.now), l.max)
}

func (l *limit) allows(inFlight int) bool { return float64(inFlight) < max(l.now, 1) }

func (l *limit) success() {
	l.streak = 0
	if l.now < l.threshold {
		l.now++
	} else {
		l.now += 1 / l.now
	}
	l.now = min(l.now, l.max)
}

// failure notes an attempt, begun at started, that says that the receiver, or the way to it, cannot cope. What was under way
// when the limit last shrank does not shrink it again; a whole round of failures leaves one.
func (l *limit) failure(started, now time.Time) {
	l.streak++
	if float64(l.streak) >= max(l.now, 1) {
		l.now, l.threshold, l.shrunk = 1, max(l.threshold/2, 2), now
		return
	}
	if started.Before(l.shrunk) {
		return
	}
	l.now = max(l.now/2, 1)
	l.threshold = max(l.now, 2)
	l.shrunk = now
}

// pace is how long a receiver that asked for less, without saying for how long, is left alone after the n-th time in a row.
func pace(n int) time.Duration {
	const most = 250 * time.Millisecond
	return min(10*time.Millisecond<<min(max(n-1, 0), 8), most)
}
