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
// is due, in these bounds. When the head ends, Finish makes the next one due. But it misses what is stored while it runs: so
// behind a head that is under way the young ones are put off only for some times as long as they have waited.
const (
	putOffTimes = 4
	putOffLeast = time.Minute
	putOffMost  = 5 * time.Minute
)

// Claim implements delivery.Store.
func (s *Store) Claim(ctx context.Context, token int64, wants []delivery.Want) (claimed []delivery.Leased, more []string, err error) {
	// Nothing is due most of the time: see first, without locking anything.
	if s.db.Engine == sqldb.SQLite || len(wants) > fewWants {
		if wants, err = s.wantsDue(ctx, wants); err != nil {
			return nil, nil, wrap("claim deliveries", err)
		}
	}
	if len(wants) == 0 {
		return nil, nil, nil
	}
	if s.db.Engine == sqldb.PostgreSQL && !s.generic {
		claimed, more, err = s.claimAtOnce(ctx, token, wants)
	} else {
		claimed, more, err = s.claimInTx(ctx, token, wants)
	}
	return claimed, more, wrap("claim deliveries", err)
}

// fewWants are asked for one by one; of more, it is asked first which of all have something due.
const fewWants = 32

const (
	isDue = `SELECT EXISTS (SELECT 1 FROM deliveries WHERE subscription_id = $1 AND lease = 0 AND due_at <= $2)`
	// whichDue goes from one subscription that has something pending to the next, by the index: what it costs depends on how
	// many have, and not on how many subscriptions there are, nor on how much is pending.
	whichDue = `WITH RECURSIVE s(id) AS (
		SELECT min(subscription_id) FROM deliveries WHERE lease = 0
		UNION ALL
		SELECT (SELECT min(subscription_id) FROM deliveries WHERE lease = 0 AND subscription_id > s.id) FROM s WHERE s.id IS NOT NULL
	) SELECT id FROM s WHERE id IS NOT NULL
		AND EXISTS (SELECT 1 FROM deliveries WHERE subscription_id = s.id AND lease = 0 AND due_at <= $1)`
)

// wantsDue keeps the subscriptions that have something due.
func (s *Store) wantsDue(ctx context.Context, wants []delivery.Want) (due []delivery.Want, err error) {
	now := s.Now()
	if len(wants) <= fewWants {
		for _, w := range wants {
			var yes bool
			if err := s.db.Reader().QueryRowContext(ctx, isDue, w.SubscriptionID, now).Scan(&yes); err != nil {
				return nil, err
			}
			if yes {
				due = append(due, w)
			}
		}
		return due, nil
	}
	var ids []string
	if err := s.db.Reader().SelectContext(ctx, &ids, whichDue, now); err != nil {
		return nil, err
	}
	which := make(map[string]bool, len(ids))
	for _, id := range ids {
		which[id] = true
	}
	for _, w := range wants {
		if which[w.SubscriptionID] {
			due = append(due, w)
		}
	}
	return due, nil
}

const dueSQL = `SELECT id, event_id, event_type, subscription_id, employee_id, position, attempts, base, due_at, created_at
	FROM deliveries WHERE subscription_id = $1 AND lease = 0 AND due_at <= $2 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED`

var (
	leaseDelivery = statement(`UPDATE deliveries SET lease = r.column2 FROM (VALUES %s) AS r
		WHERE deliveries.id = r.column1 AND deliveries.lease = 0`, 2, "text", "bigint")
	headsOfLines = statement(`SELECT h.id, h.subscription_id, h.employee_id, h.due_at, h.lease <> 0 FROM (VALUES %s) AS l JOIN deliveries h ON h.id = (
		SELECT id FROM deliveries WHERE subscription_id = l.column1 AND employee_id = l.column2 ORDER BY position LIMIT 1)`, 2, "text", "text")
	putOff = statement(`UPDATE deliveries SET due_at = r.column2 FROM (VALUES %s) AS r
		WHERE deliveries.id = r.column1 AND deliveries.lease = 0`, 2, "text", "timestamptz")
	eventsByID = statement(`SELECT id, position, type, employee_id, version, occurred_at, received_at, payload, traceparent
		FROM events WHERE id IN (%s)`, 1)
)

// claiming is one run of claimInTx.
type claiming struct {
	*Store
	token   int64
	now     time.Time
	claimed []delivery.Leased
	late    []late
	more    []string
}

// late is a delivery that is put off.
type late struct {
	id    string
	until time.Time
}

func (s *Store) claimInTx(ctx context.Context, token int64, wants []delivery.Want) (claimed []delivery.Leased, more []string, err error) {
	room := 0
	for _, w := range wants {
		room += w.Room
	}
	if err := s.prepare(ctx, min(room, 2*rowsAtOnce-1), leaseDelivery, headsOfLines, putOff, eventsByID); err != nil {
		return nil, nil, err
	}
	c := claiming{Store: s, token: token}
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		c.claimed, c.late, c.more, c.now = c.claimed[:0], c.late[:0], nil, s.Now()
		if known, err := knows(ctx, tx, token); err != nil || !known {
			return err
		}
		for _, w := range wants {
			if err := c.look(ctx, tx, w); err != nil {
				return err
			}
		}
		return c.take(ctx, tx)
	})
	if err != nil {
		return nil, nil, err
	}
	return c.claimed, c.more, nil
}

// look finds what is due for one subscription.
func (c *claiming) look(ctx context.Context, tx *sqldb.Tx, w delivery.Want) error {
	due, err := c.due(ctx, tx, w)
	if err != nil {
		return err
	}
	if len(due) == w.Room {
		c.more = append(c.more, w.SubscriptionID)
	}
	heads := map[string]head{}
	if w.Ordered {
		if heads, err = c.heads(ctx, tx, due); err != nil {
			return err
		}
	}
	for _, l := range due {
		if h, ok := heads[l.EmployeeID]; ok && h.id != l.ID {
			until := between(h.dueAt, c.now.Add(putOffLeast), c.now.Add(putOffMost))
			if h.leased {
				until = c.now.Add(min(putOffTimes*c.now.Sub(l.CreatedAt), putOffLeast))
			}
			c.late = append(c.late, late{l.ID, until})
			continue
		}
		c.claimed = append(c.claimed, l)
	}
	return nil
}

func (c *claiming) due(ctx context.Context, tx *sqldb.Tx, w delivery.Want) (due []delivery.Leased, err error) {
	rows, err := tx.QueryxContext(ctx, tx.SQL(dueSQL), w.SubscriptionID, c.now, w.Room)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		l := delivery.Leased{Token: c.token}
		l.Status = delivery.Pending
		if err := rows.Scan(&l.ID, &l.EventID, &l.EventType, &l.SubscriptionID, &l.EmployeeID, &l.Position, &l.Attempts, &l.Base,
			&l.DueAt, &l.CreatedAt); err != nil {
			return nil, err
		}
		due = append(due, l)
	}
	return due, rows.Err()
}

// head is the first in a line.
type head struct {
	id     string
	dueAt  time.Time
	leased bool
}

// heads finds who is first in the lines of what is due, by employee. It looks after the candidates are locked: a head that has
// ended by then is seen to have, and one that ends later finds them put off, and wakes the next.
func (c *claiming) heads(ctx context.Context, tx *sqldb.Tx, due []delivery.Leased) (map[string]head, error) {
	heads := map[string]head{}
	err := c.query(ctx, tx, headsOfLines, len(due),
		func(args []any, i int) []any { return append(args, due[i].SubscriptionID, due[i].EmployeeID) },
		func(rows *sqlx.Rows) error {
			var h head
			var subscription, employee string
			err := rows.Scan(&h.id, &subscription, &employee, &h.dueAt, &h.leased)
			if employee != "" { // what is of no employee waits for nobody
				heads[employee] = h
			}
			return err
		})
	return heads, err
}

func between(t, least, most time.Time) time.Time {
	switch {
	case t.Before(least):
		return least
	case t.After(most):
		return most
	default:
		return t
	}
}

// take leases what was found, puts off what has to wait, and reads the events.
func (c *claiming) take(ctx context.Context, tx *sqldb.Tx) error {
	if _, err := c.exec(ctx, tx, putOff, len(c.late), func(args []any, i int) []any {
		return append(args, c.late[i].id, c.late[i].until)
	}); err != nil {
		return err
	}
	if _, err := c.exec(ctx, tx, leaseDelivery, len(c.claimed), func(args []any, i int) []any {
		return append(args, c.claimed[i].ID, c.token)
	}); err != nil {
		return err
	}
	return c.attachEvents(ctx, tx)
}

// attachEvents reads each event once.
func (c *claiming) attachEvents(ctx context.Context, tx *sqldb.Tx) error {
	var ids []string
	events := map[string]*event.Event{}
	for i := range c.claimed {
		if _, ok := events[c.claimed[i].EventID]; !ok {
			events[c.claimed[i].EventID] = nil
			ids = append(ids, c.claimed[i].EventID)
		}
	}
	err := c.query(ctx, tx, eventsByID, len(ids), func(args []any, i int) []any { return append(args, ids[i]) },
		func(rows *sqlx.Rows) error {
			e := new(event.Event)
			if err := rows.Scan(&e.ID, &e.Position, &e.Type, &e.EmployeeID, &e.Version, &e.OccurredAt, &e.ReceivedAt, &e.Payload, &e.Traceparent); err != nil {
				return err
			}
			events[e.ID] = e
			return nil
		})
	for i := range c.claimed {
		if e := events[c.claimed[i].EventID]; e != nil && len(e.Payload) > 0 {
			c.claimed[i].Event = e
		}
	}
	return err
}
