// Package subscription is who is told of what, where, and how.
package subscription

import (
	"time"

	"hirewire.dev/webhook"
)

// Status is whether events are delivered. Whatever it is, matching events are kept: see Deliverable and Accepting.
type Status string

// The statuses of a subscription.
const (
	PendingVerification Status = "PENDING_VERIFICATION"
	Active              Status = "ACTIVE"
	Paused              Status = "PAUSED"
	Disabled            Status = "DISABLED"
)

// Payload is how much of an event is sent.
type Payload string

// The payloads.
const (
	Full Payload = "FULL"
	Thin Payload = "THIN"
)

// Format is how an event is written.
type Format string

// The formats.
const (
	Standard    Format = "STANDARD"
	CloudEvents Format = "CLOUDEVENTS"
	Form        Format = "FORM"
	XML         Format = "XML"
)

// Ordering is what may overtake what.
type Ordering string

// The orderings.
const (
	ByEmployee Ordering = "BY_EMPLOYEE"
	Unordered  Ordering = "NONE"
)

// Signature is the kind of key that signs.
type Signature string

// The signatures of Standard Webhooks.
const (
	V1  Signature = "V1"
	V1A Signature = "V1A"
)

// Subscription is a receiver's wish to be told of events. Its secrets are not here: see Keys.
type Subscription struct {
	ID           string
	Owner        string // name of the bank's API key; empty for the administrators' own
	Name         string // unique for its owner
	Description  string
	Contact      string
	URL          string
	EventTypes   []string // exact or employee.*; empty: all
	Filter       string   // CEL over event; empty: all
	Status       Status
	StatusReason string
	Payload      Payload
	Format       Format
	MaxInFlight  int             // 0: DefaultMaxInFlight
	RatePerSec   int             // 0: no limit
	Schedule     []time.Duration // empty: the notifier's default
	Ordering     Ordering
	Signature    Signature
	Labels       map[string]string
	// Revision grows by one with each change; the etag.
	Revision  int64
	CreatedAt time.Time
	UpdatedAt time.Time
	// FailingSince is when the present run of nothing but failures began; zero while it is well.
	FailingSince time.Time
}

// DefaultMaxInFlight is how many deliveries of one subscription may be under way at once in a replica.
const DefaultMaxInFlight = 64

// Target is what the delivery engine needs of an active subscription, ready to use: keys parsed, filter compiled.
type Target struct {
	Subscription
	// Signer signs with every key in force, newest first. It is nil when the keys do not open: then Status is Disabled.
	Signer *webhook.Signer
	// Secrets are the shared secrets in force, newest first: what answers to a challenge are checked with.
	Secrets []webhook.Secret
	// PublicKeys are those in force, whpk_…, newest first.
	PublicKeys []string
	// Match says whether the subscription wants the event. It is called on the publishing path: cheap, and never blocks.
	Match func(*Candidate) bool
}

// Candidate is an event on the publishing path, as a filter sees it.
type Candidate struct {
	ID, Type, EmployeeID string
	Version              int64
	OccurredAt           time.Time
	// Data gives event.data as maps and lists, made on first use.
	Data func() map[string]any
	// Budget is what filters may still cost; each takes from it, and what cannot be paid is in doubt. nil: no limit.
	Budget *int
}

// OwnerBudget is what the filters of one owner may cost together for one event, in the units of package filter: enough for
// 2000 comparisons. Everybody's events wait while filters are evaluated.
const OwnerBudget = 10_000

// Snapshot is every subscription at one epoch. It is immutable.
type Snapshot struct {
	// Epoch is the feed's epoch that this snapshot shows; a publish that finds another epoch loads again.
	Epoch int64
	// Targets are the subscriptions that accept events: all that are not deleted, whatever their status.
	Targets map[string]*Target
}
