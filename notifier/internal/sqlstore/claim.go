package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/platform/sqldb"
)

var _ delivery.Store = (*Store)(nil)

// What is due but not first in its line is put off, so that it is not looked at over and over: until the head of the line
// is due, in these bounds. When the head ends, Finish makes the next one due.
const (
	putOffLeast = time.Second
	putOffMost  = 5 * time.Minute
)

// Claim implements delivery.Store.
func (s *Store) Claim(ctx context.Context, token int64, wants []delivery.Want) (claimed []delivery.Leased, more []string, err error) {
	if s.db.Engine == sqldb.PostgreSQL && !s.generic {
		claimed, more, err = s.claimAtOnce(ctx, token, wants)
	} else {
		claimed, more, err = s.claimInTx(ctx, token, wants)
	}
	return claimed, more, wrap("claim deliveries", err)
}

func (s *Store) claimInTx(ctx context.Context, token int64, wants []delivery.Want) (claimed []delivery.Leased, more []string, err error) {
	// Nothing is due most of the time: see first, without the write lock.
	wants, err = s.wantsDue(ctx, wants)
	if err != nil || len(wants) == 0 {
		return nil, nil, err
	}
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		claimed, more = claimed[:0], more[:0]
		if known, err := knows(ctx, tx, token); err != nil || !known {
			return err
		}
		for _, w := range wants {
			n := len(claimed)
			full, err := s.claimOne(ctx, tx, token, w, &claimed)
			if err != nil {
				return err
			}
			if full && (len(claimed) > n || w.Ordered) {
				more = append(more, w.SubscriptionID)
			}
		}
		return s.attachEvents(ctx, tx, claimed)
	})
	return claimed, more, err
}

// wantsDue keeps the subscriptions that have something due.
func (s *Store) wantsDue(ctx context.Context, wants []delivery.Want) ([]delivery.Want, error) {
	var due []delivery.Want
	now := s.Now()
	for _, w := range wants {
		var yes bool
		err := s.db.Reader().QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM deliveries WHERE subscription_id = $1 AND lease = 0 AND due_at <= $2)`,
			w.SubscriptionID, now).Scan(&yes)
		if err != nil {
			return nil, err
		}
		if yes {
			due = append(due, w)
		}
	}
	return due, nil
}

const dueSQL = `SELECT id, event_id, event_type, subscription_id, employee_id, position, attempts, base, due_at, created_at
	FROM deliveries WHERE subscription_id = $1 AND lease = 0 AND due_at <= $2 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED`

// claimOne leases for one subscription. full says that there may be more.
func (s *Store) claimOne(ctx context.Context, tx *sqldb.Tx, token int64, w delivery.Want, claimed *[]delivery.Leased) (full bool, err error) {
	now := s.Now()
	rows, err := tx.QueryxContext(ctx, tx.SQL(dueSQL), w.SubscriptionID, now, w.Room)
	if err != nil {
		return false, err
	}
	var due []delivery.Leased
	for rows.Next() {
		l := delivery.Leased{Token: token}
		l.Status = delivery.Pending
		if err := rows.Scan(&l.ID, &l.EventID, &l.EventType, &l.SubscriptionID, &l.EmployeeID, &l.Position, &l.Attempts, &l.Base, &l.DueAt, &l.CreatedAt); err != nil {
			return false, errors.Join(err, rows.Close())
		}
		due = append(due, l)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return false, err
	}
	for _, l := range due {
		until, err := s.blockedUntil(ctx, tx, w, &l, now)
		if err != nil {
			return false, err
		}
		if !until.IsZero() {
			if _, err := tx.ExecContext(ctx, `UPDATE deliveries SET due_at = $2 WHERE id = $1 AND lease = 0`, l.ID, until); err != nil {
				return false, err
			}
			continue
		}
		if _, err := tx.ExecContext(ctx, `UPDATE deliveries SET lease = $2 WHERE id = $1 AND lease = 0`, l.ID, token); err != nil {
			return false, err
		}
		*claimed = append(*claimed, l)
	}
	return len(due) == w.Room, nil
}

// blockedUntil is until when a delivery is put off because it is not first in its line; zero if it is.
func (s *Store) blockedUntil(ctx context.Context, tx *sqldb.Tx, w delivery.Want, l *delivery.Leased, now time.Time) (time.Time, error) {
	if !w.Ordered || l.EmployeeID == "" {
		return time.Time{}, nil
	}
	var head string
	var due time.Time
	err := tx.QueryRowContext(ctx, `SELECT id, due_at FROM deliveries WHERE subscription_id = $1 AND employee_id = $2 ORDER BY position LIMIT 1`,
		l.SubscriptionID, l.EmployeeID).Scan(&head, &due)
	if err != nil || head == l.ID {
		return time.Time{}, err
	}
	least, most := now.Add(putOffLeast), now.Add(putOffMost)
	switch {
	case due.Before(least):
		return least, nil
	case due.After(most):
		return most, nil
	default:
		return due, nil
	}
}

var eventsByID = statement(`SELECT id, position, type, employee_id, version, occurred_at, received_at, payload, traceparent FROM events WHERE id IN (%s)`, 1)

// attachEvents reads each event once.
func (s *Store) attachEvents(ctx context.Context, tx *sqldb.Tx, claimed []delivery.Leased) error {
	var ids []string
	events := map[string]*event.Event{}
	for i := range claimed {
		if _, ok := events[claimed[i].EventID]; !ok {
			events[claimed[i].EventID] = nil
			ids = append(ids, claimed[i].EventID)
		}
	}
	err := s.query(ctx, tx, eventsByID, len(ids), func(args []any, i int) []any { return append(args, ids[i]) },
		func(rows *sqlx.Rows) error {
			e := new(event.Event)
			if err := rows.Scan(&e.ID, &e.Position, &e.Type, &e.EmployeeID, &e.Version, &e.OccurredAt, &e.ReceivedAt, &e.Payload, &e.Traceparent); err != nil {
				return err
			}
			events[e.ID] = e
			return nil
		})
	for i := range claimed {
		if e := events[claimed[i].EventID]; e != nil && len(e.Payload) > 0 {
			claimed[i].Event = e
		}
	}
	return err
}
