// Package outbox gets the stored events out: a [Relay] publishes them to the notifier, each at least once, those of one
// employee in the order of their versions, and removes an event only after the notifier said that it has committed it.
//
// The order needs no trust in clocks or leases. A relay publishes an event only when all earlier ones of its employee are
// removed, parked, or before it in the same sequence of calls; an event that is published twice is one event to the
// notifier. So a relay that wakes up after its lease has passed repeats what is known, and overtakes nothing. Leases only
// keep two relays from doing the same work.
//
// What a relay takes is in one of two ways. Events that this process has just committed come through the [Handoff], leased
// from birth, so that the fast path neither searches nor updates. Everything else (after a crash, from another replica,
// from the time when the notifier was down) is claimed from the store.
package outbox

import (
	"context"
	"errors"
	"time"
)

// Message is one event on its way.
type Message struct {
	// Position is its place in the order of commits, and its key.
	Position   int64
	EventID    string
	EmployeeID string
	// Body is the event in the publisher's own form.
	Body []byte
	// Attempts counts how often the notifier broke on it.
	Attempts int
	// Until is the end of the lease.
	Until time.Time
}

// Store keeps messages until they are published. All methods are safe for concurrent use, also from several processes, and
// harmless when repeated. A lease is a number that no other relay has; what a lease does not hold, it does not change.
type Store interface {
	// Claim leases up to limit messages that are due and held by no lease, oldest first. It takes no message whose employee
	// has an earlier one that is leased or not yet due, so that nothing is overtaken; parked ones hold nothing up, and are
	// due again after ParkedFor. A time beyond FarAhead is one that a wrong clock set: it counts as passed.
	Claim(ctx context.Context, lease int64, until time.Time, limit int) ([]Message, error)
	// Renew extends the lease of the messages, and returns the positions of those that it still held.
	Renew(ctx context.Context, lease int64, until time.Time, positions []int64) ([]int64, error)
	// Release makes the messages due now and free.
	Release(ctx context.Context, lease int64, positions []int64) error
	// Defer makes the message due at a later time, free, with so many attempts.
	Defer(ctx context.Context, lease, position int64, attempts int, due time.Time) error
	// Park takes the message out of the way of its employee's later ones, with the reason.
	Park(ctx context.Context, lease, position int64, reason string) error
	// Remove deletes messages that the notifier has. It needs no lease: what is published is published.
	Remove(ctx context.Context, positions []int64) error
	// Depth counts what waits.
	Depth(ctx context.Context) (Depth, error)
}

// Depth is how much waits in an outbox.
type Depth struct {
	// Waiting counts what is to be published; Parked what the notifier did not take.
	Waiting, Parked int
	// Oldest is when the oldest waiting message was stored; zero when none waits.
	Oldest time.Time
}

// Publisher hands messages to the notifier: all of the call or nothing. nil means that the notifier has committed them.
//
// An error that is ErrRefused, ErrBroken or ErrEarly may be due to a single message. With any other the outcome is unknown
// or the notifier cannot be reached, and the same messages are to be published again.
type Publisher interface {
	Publish(ctx context.Context, batch []Message) error
}

var (
	// ErrRefused means that the notifier does not take the batch as it is.
	ErrRefused = errors.New("refused by the notifier")
	// ErrBroken means that the notifier failed at the batch in a way that it should not.
	ErrBroken = errors.New("broke the notifier")
	// ErrEarly means that by the notifier's clock the batch is not of now: it will be taken later.
	ErrEarly = errors.New("too early for the notifier's clock")
)

const (
	// ParkedFor is how long a parked message waits until it is tried again: what was wrong may have been mended.
	ParkedFor = time.Hour
	// FarAhead is more than any lease or wait takes.
	FarAhead = 15 * time.Minute
)

// Observer is told what the relay does. Its methods must be quick and safe for concurrent use.
type Observer interface {
	// Published: the notifier committed n messages in one call.
	Published(n int, took time.Duration)
	// Failed: a call failed, with what became of it: "refused", "broken", "early" or "unavailable".
	Failed(outcome string)
	// Depth is told every few seconds.
	Depth(Depth)
}
