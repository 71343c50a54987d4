package subscription

import (
	"context"
	"slices"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
)

// Store keeps subscriptions. Every change is numbered, in the order of commits; one that Diverts also makes a new epoch of the
// feed in its transaction, so that no event is fanned out by what was true before. Implementations are safe for concurrent use.
type Store interface {
	// Create stores the subscription with its keys, the replay of past events that it asks for, the request and the audit
	// entry: all or nothing. If the request was made before it stores nothing and answers with the request as it was then.
	//
	// Errors: ErrNameTaken.
	Create(ctx context.Context, r Record, since *Since, req access.Request, e audit.Entry) (before *access.Request, err error)
	// Get is one subscription that has not been deleted. Errors: ErrNotFound.
	Get(ctx context.Context, id string) (Record, error)
	// List are the subscriptions that the query asks for, in the order of their ids, without keys.
	List(ctx context.Context, q Query) ([]Subscription, error)
	// Update changes one: fn gets a copy and says what becomes of it, with the audit entry; a nil entry means that there is
	// nothing to change. fn may be called more than once, so it must be pure. A fn that sets DeletedAt deletes it, with its
	// keys, and cancels its pending deliveries. If req has an ID and was made before, nothing is stored, and the answer has
	// the request as it was then.
	//
	// Errors: ErrNotFound, ErrNameTaken, those of fn.
	Update(ctx context.Context, id string, req access.Request, fn func(*Record) (*audit.Entry, error)) (Record, *access.Request, error)
	// ClaimChallenges are the subscriptions whose challenge is due, at most limit, with a new token. They are not due again
	// until the lease ends.
	ClaimChallenges(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]Record, error)
	// PostponeChallenge says when a claimed challenge is due next, and why it is not ACTIVE. It changes nothing if the
	// token is not the latest, and is not numbered: nobody has to know.
	PostponeChallenge(ctx context.Context, id string, c Challenge, reason string) error
	// SetFailing notes since when a subscription has had nothing but failures; the zero time: it is well. It is
	// numbered, so that every replica knows, but makes no new revision.
	SetFailing(ctx context.Context, id string, since time.Time) error
	// Warned notes that the owner of a subscription that has been failing since then is told; false if somebody did before.
	Warned(ctx context.Context, id string, since, at time.Time) (first bool, err error)
	// CancelPending cancels pending deliveries of deleted subscriptions, at most limit, and says how many it did.
	CancelPending(ctx context.Context, limit int) (int, error)
	// Forget removes what has served its time: keys that ended, secrets shown again, requests, and subscriptions that were
	// deleted before the cutoff and have nothing left that refers to them.
	Forget(ctx context.Context, now, cutoff time.Time) error
}

// Feed is what the Catalog follows.
type Feed interface {
	// Mark is where the feed is now.
	Mark(ctx context.Context) (Mark, error)
	// ChangedSince are the subscriptions that changed after the change since, deleted ones included, and a mark that they are
	// not older than.
	ChangedSince(ctx context.Context, since int64) (Mark, []Record, error)
}

// Mark is a point in the history of changes.
type Mark struct {
	// Epoch is the feed's.
	Epoch int64
	// Change is the number of the last change.
	Change int64
}

// Diverts says whether a change makes other events, or other receivers, of what is published: such a change waits for the
// events that are being stored, and the next ones are fanned out in its knowledge. A new secret, a new name or an answered
// challenge does not.
func Diverts(was, is Record) bool {
	return was.URL != is.URL || was.Filter != is.Filter || !slices.Equal(was.EventTypes, is.EventTypes) ||
		was.Ordering != is.Ordering || was.DeletedAt != is.DeletedAt || was.Status == Active && is.Status != Active
}

// Query chooses subscriptions.
type Query struct {
	Owner    *string // nil: anybody's
	Status   Status  // empty: any
	Name     string  // exact; empty: any
	LabelKey string  // empty: any
	// LabelValue is what the label must say; nil: anything.
	LabelValue *string
	After      string // the id of the last one seen
	Limit      int
}

// Since is from when on a new subscription gets past events.
type Since struct {
	// Time is the beginning; zero: the oldest event that is kept.
	Time time.Time
	// ReplayID is the id of the replay that brings them.
	ReplayID string
}
