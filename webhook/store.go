package webhook

import (
	"context"
	"errors"
	"time"
)

// Delivery is one verified request, as a [Store] gets it.
type Delivery struct {
	// Verification is what the signature proves: the id, the time of sending
	// and the kind of signature.
	Verification
	// Body is exactly what was signed. The store may keep it.
	Body []byte
	// Event is the body, understood. It is zero when Problem is set.
	Event Event
	// Problem is why the body could not be understood, an [*Error]. The sender
	// is who it claims to be, and sending the same bytes again would change
	// nothing: so keep the delivery aside for a person to look at, and return
	// nil.
	Problem error
	// ReceivedAt is when the body was complete.
	ReceivedAt time.Time
	// Attempt is the sender's count of attempts, 0 if it did not say. Unsigned.
	Attempt int
	// Traceparent is the W3C trace context, "" if none or malformed. Unsigned.
	Traceparent string
}

// ErrQuarantined is for a [Store] to wrap with the reason. It makes the answer 202:
// the delivery is kept, and sending it again would change nothing.
var ErrQuarantined = errors.New("kept, but not understood")

// Store takes deliveries in.
type Store interface {
	// Accept returns nil once the delivery is durable, or was already: the
	// sender forgets it then. The same id comes again whenever an answer was
	// lost, also concurrently, and is no error. Any error makes the answer 503
	// and the sender try again later. Accept should take milliseconds: the work
	// that the event asks for comes after the answer.
	//
	// An error that is [ErrQuarantined] says that the delivery is durable like
	// one with a Problem, but that its event makes no sense to the application.
	Accept(ctx context.Context, d Delivery) error
}

// StoreFunc is a function as a [Store].
type StoreFunc func(ctx context.Context, d Delivery) error

// Accept calls f.
func (f StoreFunc) Accept(ctx context.Context, d Delivery) error { return f(ctx, d) }

// Outcome is how a request ended.
type Outcome string

// The outcomes.
const (
	// Accepted: verified, understood and stored.
	Accepted Outcome = "accepted"
	// Quarantined: verified and stored, but not understood.
	Quarantined Outcome = "quarantined"
	// Challenged: the sender asked for proof of the secret and got it.
	Challenged Outcome = "challenged"
	// Refused: not verified, or no webhook at all.
	Refused Outcome = "refused"
	// Unavailable: verified, but not stored; the sender comes again.
	Unavailable Outcome = "unavailable"
)

// Observation tells an observer about one request.
type Observation struct {
	Outcome Outcome
	// Status is the HTTP status that was answered.
	Status int
	// Reason is "" when Accepted or Challenged.
	Reason Reason
	// Err is the reason with its detail, or the error of the store.
	Err error
	// ID, Kind and Type are "" until verified and understood: what a stranger
	// claims is not repeated here.
	ID   string
	Kind Kind
	Type string
	// Bytes is the length of the body as far as it was read.
	Bytes int
	// Duration is from the headers to the answer.
	Duration time.Duration
}
