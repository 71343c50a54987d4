package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/replay"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
)

// fullWait is for how long a replay waits whose subscription has enough pending.
const fullWait = time.Second

// maxLate is how far behind its pace a replay may be and still make up for it.
const maxLate = time.Second

// Send implements replay.Store.
func (s *Store) Send(ctx context.Context, j *replay.Job, events []*event.Event, room int, pace time.Duration) (full bool, err error) {
	if err := s.prepare(ctx, len(events), takeFinished, addAgain, addPending, addAttempt, addEnded); err != nil {
		return false, wrap("send replay", err)
	}
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		full = false
		now := s.Now()
		due := j.DueAt
		if due.Before(now.Add(-maxLate)) {
			due = now.Add(-maxLate)
		}
		due = due.Add(pace)
		if pace == 0 {
			due = now
		}
		status, finished := replay.Running, sql.NullTime{}
		if j.SentTo >= j.EndPosition {
			status, finished = replay.Succeeded, sql.NullTime{Time: now, Valid: true}
		}
		// First, for it locks the row: a worker that has lost its lease writes nothing.
		if err := fenced(tx.ExecContext(ctx, `UPDATE replays SET sent_to = $3, done = $4, status = $5, finished_at = $6, due_at = $7, lease = 0
			WHERE id = $1 AND lease = $2 AND status = 'RUNNING'`, j.ID, j.Token, j.SentTo, j.Done, string(status), finished, due)); err != nil {
			return err
		}
		if err := aliveSubscription(ctx, tx, j.SubscriptionID); err != nil {
			return err
		}
		if len(events) == 0 {
			return nil
		}
		var pending int
		if err := tx.GetContext(ctx, &pending, `SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE subscription_id = $1 LIMIT $2) AS p`, j.SubscriptionID, room); err != nil {
			return err
		}
		if full = pending >= room; full {
			return errFull
		}
		return s.sendAgain(ctx, tx, j.SubscriptionID, events, now)
	})
	if errors.Is(err, errFull) {
		return true, wrap("send replay", s.postpone(ctx, j))
	}
	return full, wrap("send replay", err)
}

var errFull = errors.New("enough is pending")

// postpone gives a job back for a while, with nothing changed.
func (s *Store) postpone(ctx context.Context, j *replay.Job) error {
	return s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		return fenced(tx.ExecContext(ctx, `UPDATE replays SET due_at = $3, lease = 0 WHERE id = $1 AND lease = $2 AND status = 'RUNNING'`,
			j.ID, j.Token, s.Now().Add(fullWait)))
	})
}

// aliveSubscription keeps a subscription from being deleted until the transaction ends.
func aliveSubscription(ctx context.Context, tx *sqldb.Tx, id string) error {
	var deleted bool
	err := tx.GetContext(ctx, &deleted, tx.SQL(`SELECT deleted_at IS NOT NULL FROM subscriptions WHERE id = $1 FOR SHARE`), id)
	if errors.Is(err, sql.ErrNoRows) || err == nil && deleted {
		return replay.ErrGone
	}
	return err
}

var addPending = statement(`INSERT INTO deliveries (id, event_id, event_type, subscription_id, employee_id, position, attempts, base, due_at, lease, created_at)
	VALUES %s ON CONFLICT DO NOTHING`, 11)

// sendAgain makes a delivery of each event to the subscription due: what is pending stays as it is, what has ended is taken
// up again, and what never was is made.
func (s *Store) sendAgain(ctx context.Context, tx *sqldb.Tx, subscriptionID string, events []*event.Event, now time.Time) error {
	// Pending ones first: what ends in between is seen as pending, and what is taken up in between conflicts. The other way
	// round it could be seen as neither.
	pending, err := pendingOf(ctx, tx, subscriptionID, events)
	if err != nil {
		return err
	}
	ended, err := endedOf(ctx, tx, subscriptionID, events)
	if err != nil {
		return err
	}
	has := make(map[string]bool, len(events))
	for _, eventID := range pending {
		has[eventID] = true
	}
	var again []string
	for _, d := range ended {
		if !has[d.EventID] {
			again = append(again, d.ID)
		}
		has[d.EventID] = true
	}
	if _, err := s.takeUp(ctx, tx, again, now); err != nil {
		return err
	}
	fresh := slices.DeleteFunc(slices.Clone(events), func(e *event.Event) bool { return has[e.ID] })
	added, err := s.exec(ctx, tx, addPending, len(fresh), func(args []any, i int) []any {
		e := fresh[i]
		return append(args, id.New("dlv"), e.ID, e.Type, subscriptionID, e.EmployeeID, e.Position, 0, 0, now, 0, now)
	})
	if err != nil || added == 0 {
		return err
	}
	_, err = s.exec(ctx, tx, addFannedOut, 1, func(args []any, _ int) []any { return append(args, subscriptionID, s.shard*2, added) })
	return err
}

// pendingOf are the ids of those of the events that are pending for the subscription.
func pendingOf(ctx context.Context, q sqlx.QueryerContext, subscriptionID string, events []*event.Event) (pending []string, err error) {
	w := ofEmployees(subscriptionID, events)
	err = sqlx.SelectContext(ctx, q, &pending, `SELECT event_id FROM deliveries`+w.text(), w.args...)
	return pending, err
}

// ended is a delivery in the history.
type ended struct {
	ID      string `db:"id"`
	EventID string `db:"event_id"`
	Status  string `db:"status"`
}

// endedOf are the deliveries of the events to the subscription that have ended.
func endedOf(ctx context.Context, q sqlx.QueryerContext, subscriptionID string, events []*event.Event) (list []ended, err error) {
	w := ofEmployees(subscriptionID, events)
	err = sqlx.SelectContext(ctx, q, &list, `SELECT id, event_id, status FROM finished_deliveries`+w.text(), w.args...)
	return list, err
}

// ofEmployees finds deliveries by the employees of their events, which there are indexes for.
func ofEmployees(subscriptionID string, events []*event.Event) where {
	var w where
	employees := make([]any, 0, len(events))
	ids := make([]any, 0, len(events))
	for _, e := range events {
		if !slices.Contains(employees, any(e.EmployeeID)) {
			employees = append(employees, e.EmployeeID)
		}
		ids = append(ids, e.ID)
	}
	w.and("subscription_id = ?", subscriptionID)
	w.and("employee_id IN (?"+strings.Repeat(", ?", len(employees)-1)+")", employees...)
	w.and("event_id IN (?"+strings.Repeat(", ?", len(ids)-1)+")", ids...)
	return w
}
