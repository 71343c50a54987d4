package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// errLeft: the database was away for too long, or Run ends; the items stay as
// they are in the table, and somebody claims them when their leases end.
var errLeft = errors.New("left to the end of the lease")

// errSlow: the handler did not end in time, or not in that of the database. Its
// text stays with the message and tells the next claim, see claimColumns.
var errSlow = errors.New(tookTooLong)

const tookTooLong = "took too long"

// errSwallowed: the handler returned no error, though its transaction can only
// be rolled back, or it ended that itself.
var errSwallowed = errors.New("the handler returned nil after its transaction had failed or ended")

// transact runs the handler and the marking of its events in one transaction.
// It returns nil when that is committed; errFenced when some item is no longer
// ours or not first in its line; errLeft; or the error of the handler. Races
// and outages are not the handler's, and are tried again here.
func (r *run) transact(ctx context.Context, items []*item) error {
	for try := 1; ; try++ {
		err := r.transactOnce(ctx, items)
		outage, isOutage := errors.AsType[*outageError](err)
		switch {
		case err == nil || errors.Is(err, errFenced):
			return err
		case ctx.Err() != nil:
			return errLeft
		case lostRace(err):
			if try >= maxRaces && len(items) > 1 {
				return err // smaller transactions lose less often
			}
		case isOutage:
			r.b.config.Observe(Observation{What: Unavailable, Err: outage.err})
		default:
			return err
		}
		if !r.pause(ctx, items, try) {
			return errLeft
		}
	}
}

// pause waits before the next try; false when the leases do not allow another.
func (r *run) pause(ctx context.Context, items []*item, try int) bool {
	wait := jitter(min(raceWait<<min(try, 8), time.Second))
	limit := now().Add(wait + r.b.config.Lease/4)
	for _, it := range items {
		if it.until.Before(limit) {
			return false
		}
	}
	return sleep(ctx, wait)
}

// outageError is a failure of the database, not of the event.
type outageError struct{ err error }

func (e *outageError) Error() string { return e.err.Error() }
func (e *outageError) Unwrap() error { return e.err }

func (r *run) transactOnce(ctx context.Context, items []*item) error {
	ctx, cancel := context.WithTimeout(ctx, r.b.config.HandlerTimeout)
	defer cancel()
	if err := r.b.backend.ready(ctx); err != nil {
		return &outageError{fmt.Errorf("prepare: %w", err)}
	}
	tx, err := r.b.config.DB.BeginTx(ctx, nil)
	if err != nil {
		return &outageError{fmt.Errorf("begin: %w", err)}
	}
	defer tx.Rollback() // after Commit it does nothing
	if err := r.handleAndMark(ctx, tx, items); err != nil {
		decided := len(items) == 1 && (errors.Is(err, ErrPoison) || errors.Is(err, ErrTransient))
		if (ctx.Err() != nil || sqlState(err) == queryCanceled) && !decided {
			return errSlow
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		// Whether it happened is unknown. Trying again finds out: if it did, the
		// leases are gone, and the fence rolls the second time back.
		if badRow(err) { // a deferred constraint
			return fmt.Errorf("commit: %w", err)
		}
		return &outageError{fmt.Errorf("commit: %w", err)}
	}
	return nil
}

func (r *run) handleAndMark(ctx context.Context, tx *sql.Tx, items []*item) error {
	if err := r.handle(ctx, tx, items); err != nil {
		return err
	}
	n, err := r.b.backend.finish(ctx, tx, items, now())
	if err != nil {
		if swallowed(err) {
			return fmt.Errorf("%w: %w", errSwallowed, err)
		}
		if badRow(err) {
			return fmt.Errorf("mark as processed: %w", err)
		}
		return &outageError{fmt.Errorf("mark as processed: %w", err)}
	}
	if n != len(items) {
		return errFenced
	}
	return nil
}

// handle calls the application. An error after which the connection turns out
// to be gone is an outage: no event is to blame for it.
func (r *run) handle(ctx context.Context, tx *sql.Tx, items []*item) error {
	events := make([]*Event, len(items))
	for i, it := range items {
		events[i] = it.event
		events[i].Outcome, events[i].Reference, events[i].ignored, events[i].failure = "", "", false, nil
	}
	err := recovered(func() error { return r.b.config.HandleBatch(ctx, tx, events) })
	if errors.Is(err, ErrIgnore) && len(events) == 1 {
		events[0].ignored, err = true, nil
	}
	for _, e := range events {
		if err == nil && e.failure != nil {
			err = e.failure
		}
	}
	if err == nil || lostRace(err) {
		return err
	}
	if _, ping := tx.ExecContext(context.WithoutCancel(ctx), "SELECT 1"); ctx.Err() == nil && connectionGone(ping) {
		return &outageError{err}
	}
	return err
}

// slowTries: of so many tries that took too long, one counts. A lock or a
// database that hangs may be to blame, and passes; but an event that hangs each
// time must not hold up its key for ever.
const slowTries = 10

// fail records that an event could not be processed, and when to try again.
func (r *run) fail(ctx context.Context, it *item, cause error) {
	r.hold(it)
	r.again = true
	attempt := it.attempts + 1
	strikes := it.strikes
	status, wait := StatusFailed, time.Duration(0)
	slow := errors.Is(cause, errSlow) || errors.Is(cause, context.DeadlineExceeded)
	switch {
	case errors.Is(cause, ErrPoison):
		status = StatusQuarantined
	case errors.Is(cause, ErrTransient) || notAble(cause):
		wait = transientBackoff(attempt)
	case slow && attempt%slowTries != 0:
		wait = r.b.config.Backoff(attempt)
	default:
		strikes++
		wait = r.b.config.Backoff(strikes)
		if strikes >= r.b.config.MaxAttempts {
			status = StatusQuarantined
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.b.config.CommitTimeout)
	defer cancel()
	at := now()
	mine, err := r.b.table.fail(ctx, it, status, strikes, clean(cause.Error(), maxError), at, at.Add(wait))
	if err != nil {
		// Not recorded, so not counted: the end of the lease brings it back.
		r.b.config.Observe(Observation{What: Unavailable, Err: err})
		return
	}
	if !mine {
		r.b.config.Observe(Observation{What: LeaseLost, Count: 1, ID: it.event.ID})
		return
	}
	o := Observation{What: Failed, Count: 1, ID: it.event.ID, Err: cause, Attempt: attempt}
	if status == StatusQuarantined {
		o.What = Parked
	}
	if p, ok := errors.AsType[*panicError](cause); ok {
		o.Panicked, o.Stack = true, p.stack
	}
	r.b.config.Observe(o)
}
