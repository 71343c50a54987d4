// Package delivery brings events to subscriptions: at least once, in order for each employee, within limits.
package delivery

import (
	"time"
)

// Status is where a delivery stands. It ends in one of the last three, and in nothing else.
type Status string

// The statuses of a delivery.
const (
	Pending   Status = "PENDING"
	Delivered Status = "DELIVERED"
	Dead      Status = "DEAD"
	Cancelled Status = "CANCELLED"
)

// Delivery is one event on its way to one subscription.
type Delivery struct {
	ID             string
	EventID        string
	EventType      string
	SubscriptionID string
	EmployeeID     string
	Position       int64 // of the event in the feed: what orders the deliveries of an employee
	Status         Status
	Attempts       int       // finished ones
	Base           int       // Attempts as they were when it was made due anew by hand: where its schedule starts
	DueAt          time.Time // of the next attempt
	CreatedAt      time.Time
	FinishedAt     time.Time // zero while pending
}

// Outcome is what came of an attempt: a small closed set, fit for a metric's label.
type Outcome string

// The outcomes of an attempt.
const (
	OutcomeDelivered  Outcome = "delivered"
	OutcomeRejected   Outcome = "rejected"          // an answer that is not 2xx
	OutcomeGone       Outcome = "gone"              // 410
	OutcomeThrottled  Outcome = "throttled"         // 429, 502, 503, 504
	OutcomeTimeout    Outcome = "timeout"           // no whole answer within the deadline
	OutcomeConnection Outcome = "connection_failed" // refused, reset, unreachable
	OutcomeTLS        Outcome = "tls_failed"
	OutcomeDNS        Outcome = "dns_failed"
	OutcomeBlocked    Outcome = "blocked_address" // the egress guard refused it
	OutcomeProtocol   Outcome = "protocol_error"  // not HTTP, or headers beyond the limits
)

// Attempt is one POST and what came of it.
type Attempt struct {
	Number     int // from 1
	StartedAt  time.Time
	Duration   time.Duration
	StatusCode int // 0 when there was no answer
	Outcome    Outcome
	Error      string // for people; never holds a secret, a URL's query or a body
	Snippet    string // the beginning of the answer's body, printable
	// RetryAfter is what the answer asked for, capped; 0 when it did not.
	RetryAfter time.Duration
}
