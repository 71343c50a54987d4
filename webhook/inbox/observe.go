package inbox

import "time"

// What names what an [Observation] tells of.
type What string

// What can happen.
const (
	// Stored: Count new messages are committed.
	Stored What = "stored"
	// Duplicate: Count messages had come before.
	Duplicate What = "duplicate"
	// Conflict: ID had come before with another body. The first one stays. The
	// sender breaks its contract: alert.
	Conflict What = "conflict"
	// Processed: the effects of Count events are committed, the oldest having
	// waited for Age since its arrival.
	Processed What = "processed"
	// Ignored: Count events asked for nothing.
	Ignored What = "ignored"
	// Failed: ID will be tried again; Err says why.
	Failed What = "failed"
	// Parked: ID is quarantined; Err says why. Somebody has to look: alert.
	Parked What = "quarantined"
	// LeaseLost: Count results were dropped or never worked out, since another
	// holder took over or an earlier event of the same key is not done.
	LeaseLost What = "lease_lost"
	// Unavailable: the database could not be used; Err says why. What was being
	// done is tried again.
	Unavailable What = "unavailable"
	// Pruned: Count old messages are removed.
	Pruned What = "pruned"
)

// Observation tells an observer what happened.
type Observation struct {
	What  What
	Count int
	// ID is set where it is about a single message.
	ID  string
	Err error
	// Attempt is the number of tries so far, for Failed and Parked.
	Attempt int
	// Age is the time since arrival of the oldest, for Processed.
	Age time.Duration
	// Panicked tells that Err was a panic of the handler, and where.
	Panicked bool
	Stack    []byte
}
