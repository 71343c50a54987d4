package inbox

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"hirewire.dev/webhook"
)

// What a handler may return to decide what becomes of an event. Any other error
// is a failed try; but an error of the database that is not about the data, such
// as a full disk, is as ErrTransient.
var (
	// ErrIgnore, returned or wrapped by a handler, says that there is nothing to
	// do for the event: it becomes IGNORED, and its transaction is committed.
	ErrIgnore = errors.New("ignored")
	// ErrPoison says that trying again cannot help: the transaction is rolled
	// back and the event becomes QUARANTINED at once.
	ErrPoison = errors.New("cannot be processed")
	// ErrTransient says that the event is not to blame, such as when another
	// service is down: the event is FAILED and tried again for as long as it
	// takes, and is never quarantined for it.
	ErrTransient = errors.New("not possible at present")
)

// Subject is what an event is about.
type Subject struct {
	// Key keeps order: events of one key are processed one after the other, in
	// the order of arrival. "" has no order. At most 256 bytes.
	Key string
	// Version is the version of the subject that the event tells of, for the
	// record only.
	Version int64
}

// Event is a message in the hands of the application.
type Event struct {
	webhook.Event
	Subject Subject
	// SentAt is when the sender made the attempt that arrived first, ReceivedAt
	// when it arrived.
	SentAt     time.Time
	ReceivedAt time.Time
	// Attempt counts the tries to process the event, from 1.
	Attempt int
	// Traceparent is the sender's W3C trace context, "" if none.
	Traceparent string

	// Outcome and Reference are for the handler to set: what was done, and to
	// which object. They are kept with the message and shown by [Inbox.Get].
	// Each is cut after 200 bytes.
	Outcome   string
	Reference string
	// Note is for Prepare to leave something to the handler.
	Note any

	ignored bool
	failure error
}

// Ignore is the same as returning [ErrIgnore], for handlers of a whole batch.
func (e *Event) Ignore(outcome string) {
	e.ignored, e.Outcome = true, outcome
}

// Fail takes the event out of its batch with the error that a handler would
// return. It is meant for Prepare. In a handler it fails the whole batch, which
// is then tried in smaller parts.
func (e *Event) Fail(err error) { e.failure = err }

// Handler applies one event within tx, and only there: what it does otherwise
// may happen more than once. Its error rolls tx back. It may run again for the
// same event after any failure, also one that it does not see.
//
// It must return the error of a statement of tx. To go on after one, such as
// after a violated unique key, PostgreSQL needs a savepoint before it: otherwise
// the transaction can only be rolled back, and the try has failed.
//
// The work should be short, since on SQLite nothing else is written meanwhile;
// for what takes longer, such as a call to another service, see Config.Prepare.
type Handler func(ctx context.Context, tx *sql.Tx, e *Event) error

// BatchHandler applies several events in one transaction, in their order. Of
// one key there may be several. An error rolls all of them back; they are then
// tried in halves, until the one to blame is alone.
type BatchHandler func(ctx context.Context, tx *sql.Tx, events []*Event) error
