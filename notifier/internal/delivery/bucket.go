package delivery

import (
	"time"
)

// bucket is a rate: tokens that come back with time.
type bucket struct {
	rate   float64 // a second; 0: no limit
	tokens float64
	at     time.Time
}

// burst is how long the bucket takes to fill: what may go at once after a silence.
const burst = 50 * time.Millisecond

func (b *bucket) size() float64 { return max(1, b.rate*burst.Seconds()) }

func (b *bucket) setRate(rate float64, now time.Time) {
	if rate == b.rate {
		return
	}
	b.fill(now)
	if b.rate == 0 {
		b.tokens = 1
	}
	b.rate = rate
	b.tokens = min(b.tokens, b.size())
}

func (b *bucket) fill(now time.Time) {
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.tokens = min(b.tokens+passed*b.rate, b.size())
	}
	b.at = now
}

// take takes a token, or says how long to wait for one.
func (b *bucket) take(now time.Time) (wait time.Duration) {
	if b.rate == 0 {
		return 0
	}
	b.fill(now)
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	return max(time.Duration((1-b.tokens)/b.rate*float64(time.Second)), time.Microsecond)
}
