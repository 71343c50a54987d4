// Package replay sends past events again, or for the first time, as jobs that survive restarts and are worked on by whichever
// replica is free. A replay makes deliveries due; sending them is the dispatcher's part, so limits, order and attempts are
// what they always are. An event keeps its webhook-id and its body, and its one delivery to the subscription if it had one.
package replay

import (
	"context"
	"errors"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
)

// Status is how far a replay is.
type Status string

// The statuses of a replay.
const (
	Running   Status = "RUNNING"
	Succeeded Status = "SUCCEEDED"
	Cancelled Status = "CANCELLED"
	Failed    Status = "FAILED"
)

// Replay is a job.
type Replay struct {
	ID             string
	SubscriptionID string
	EventTypes     []string // exact or employee.*; empty: all that the subscription matches
	// Start and End bound when the events happened: from Start, before End. Zero: unbounded.
	Start, End time.Time
	// Statuses limits it to events whose delivery ended so; empty: every matching event.
	Statuses []delivery.Status
	DryRun   bool
	// RatePerSec is how many deliveries it may make due in a second; 0: no limit of its own.
	RatePerSec int
	Status     Status
	Total      int64 // how many events match; -1 until counted
	Done       int64 // how many it has made due
	Error      string
	CreatedAt  time.Time
	FinishedAt time.Time // zero while it runs
}

// Job is a replay on its way, leased to one worker.
type Job struct {
	Replay
	// Token fences the lease.
	Token int64
	// DueAt is when the present step was due.
	DueAt time.Time
	// Counted says that Total is final; CountedTo and SentTo are how far through the feed the two walks are, and
	// EndPosition the last event of all.
	Counted                        bool
	Counting                       int64 // found so far
	CountedTo, SentTo, EndPosition int64
}

// The errors of this package.
var (
	ErrNotFound = errors.New("there is no such replay")
	// ErrRequestReused means that the request id was used for another call.
	ErrRequestReused = errors.New("the request id was used with other content")
	// ErrLost means that the job is not the worker's any more: it was cancelled, or its lease ended.
	ErrLost = errors.New("the replay is not leased any more")
	// ErrGone means that the subscription was deleted meanwhile.
	ErrGone = errors.New("the subscription was deleted")
)

// InvalidError is a field of a request that is not as it must be.
type InvalidError struct{ Field, Reason string }

// Error names the field and the reason.
func (e *InvalidError) Error() string { return e.Field + ": " + e.Reason }

// Store keeps replays. Implementations are safe for concurrent use.
type Store interface {
	// CreateReplay stores the replay, the request and the audit entry; it covers all that is published until now. If the
	// request was made before it stores nothing and answers with the request as it was then.
	CreateReplay(ctx context.Context, r Replay, req access.Request, e audit.Entry) (before *access.Request, err error)
	// Replay is one. Errors: ErrNotFound.
	Replay(ctx context.Context, id string) (Replay, error)
	// CancelReplay ends a running one; one that has ended stays as it is. Errors: ErrNotFound.
	CancelReplay(ctx context.Context, id string, e audit.Entry) (Replay, error)

	// LeaseReplay leases the running replay that is due for longest, until the lease ends. Without one, next says in how
	// long one will be due; 0 when none is running.
	LeaseReplay(ctx context.Context, token int64, lease time.Duration) (job *Job, next time.Duration, err error)
	// ReplayEvents reads the next events behind a position that a job may be about, at most limit, with payloads if they are
	// asked for; to is how far it looked. Events whose payload was removed are left out: there is nothing to send.
	ReplayEvents(ctx context.Context, j *Job, after int64, limit int, payloads bool) (events []*event.Event, to int64, err error)
	// DeliveryEnds are how the deliveries of the events to the job's subscription have ended, by the event's id. An event
	// that is pending, or was never fanned out to it, is not there.
	DeliveryEnds(ctx context.Context, j *Job, events []*event.Event) (map[string]delivery.Status, error)

	// Each of these gives the lease back, and fails with ErrLost if it was not held any more; then nothing is stored.

	// Count stores how far counting is: CountedTo, Counting, Counted, Total. A dry run that is counted has succeeded.
	Count(ctx context.Context, j *Job) error
	// Send makes deliveries of the events due, and stores how far sending is: all or nothing. At EndPosition the job has
	// succeeded; before it, it is due again when pace has passed since it was due. An event that is pending for the
	// subscription is left as it is. When room or more deliveries of the subscription are pending, nothing is done but to
	// make the job due a little later, and full is true.
	//
	// Errors: ErrGone.
	Send(ctx context.Context, j *Job, events []*event.Event, room int, pace time.Duration) (full bool, err error)
	// Fail ends the job for a reason.
	Fail(ctx context.Context, j *Job, reason string) error
}
