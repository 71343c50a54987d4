package delivery

import (
	"net/http"
	"time"
)

// MaxRetryAfter caps what a receiver can ask for.
const MaxRetryAfter = 24 * time.Hour

// jitter is how far a wait strays from the schedule, both ways.
const jitter = 0.2

// DefaultSchedule is the wait before each attempt: ten of them in about three days (Standard Webhooks, "Deliverability").
var DefaultSchedule = []time.Duration{
	0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour,
	20 * time.Hour, 24 * time.Hour,
}

// OutcomeOf classifies a status code, which is the whole of an answer's meaning: its body has none.
func OutcomeOf(statusCode int) Outcome {
	switch {
	case statusCode >= 200 && statusCode <= 299:
		return OutcomeDelivered
	case statusCode == http.StatusGone:
		return OutcomeGone
	case statusCode == http.StatusTooManyRequests, statusCode == http.StatusBadGateway,
		statusCode == http.StatusServiceUnavailable, statusCode == http.StatusGatewayTimeout:
		return OutcomeThrottled
	default:
		return OutcomeRejected
	}
}

// Decision is what follows from an attempt.
type Decision struct {
	// Status is Delivered, Dead, or Pending when it is to be tried again.
	Status Status
	// Wait is the time to the next attempt, when Pending.
	Wait time.Duration
	// Slow says that the receiver asks for less, of everything. Then Hold is for how long it asks to be left alone; 0: it
	// does not say.
	Slow bool
	Hold time.Duration
	// Disable says that the receiver wants nothing more.
	Disable bool
}

// Next decides what follows from an attempt. The schedule holds the wait before each attempt, so its length is how many
// there are; tried is how many of them have been made, with this one. luck is from [0, 1), and spreads the waits.
//
// Everything that is not 2xx is retried on the schedule, 3xx and 4xx too: a 401 or 404 is often a receiver in the middle
// of a deployment. 410 disables the subscription. 429, 502, 503 and 504 slow the whole of it down. Retry-After is
// honoured whatever the code, when it asks for a longer wait than the schedule.
func Next(a Attempt, schedule []time.Duration, tried int, luck float64) Decision {
	if a.Outcome == OutcomeDelivered {
		return Decision{Status: Delivered}
	}
	d := Decision{Status: Dead, Disable: a.Outcome == OutcomeGone}
	after := min(max(a.RetryAfter, 0), MaxRetryAfter)
	if tried < len(schedule) {
		wait := schedule[max(tried, 0)]
		wait += time.Duration(float64(wait) * jitter * (2*luck - 1))
		d.Status, d.Wait = Pending, max(wait, after)
	}
	if a.Outcome == OutcomeThrottled {
		d.Slow, d.Hold = true, after
	}
	return d
}
