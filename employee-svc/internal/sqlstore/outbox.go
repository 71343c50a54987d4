package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lib/pq"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/employee-svc/internal/outbox"
	"hirewire.dev/platform/sqldb"
)

// Outbox is the outbox of a Store's database, as the relay sees it.
type Outbox struct{ db *sqldb.DB }

var _ outbox.Store = Outbox{}

// NewOutbox makes an Outbox; Migrate has run.
func NewOutbox(db *sqldb.DB) Outbox { return Outbox{db} }

const (
	sqlLockMoves = `SELECT turn FROM lease_moves FOR UPDATE`

	// Rows that are locked are on their way out: published and being removed.
	sqlClaim = `WITH due AS MATERIALIZED (
			SELECT o.position FROM outbox AS o
			WHERE (o.due_at <= $2 OR o.due_at > $5) AND (o.parked_at IS NULL OR o.parked_at <= $6) AND NOT EXISTS (
				SELECT 1 FROM outbox AS p
				WHERE p.employee_id = o.employee_id AND p.position < o.position AND p.parked_at IS NULL AND p.due_at > $2 AND p.due_at <= $5)
			ORDER BY o.position LIMIT $4 FOR UPDATE SKIP LOCKED)
		UPDATE outbox SET lease = $1, due_at = $3
		WHERE position IN (SELECT position FROM due) AND (due_at <= $2 OR due_at > $5)
		RETURNING position, event_id, employee_id, body, attempts`

	sqlDefer = `UPDATE outbox SET lease = 0, due_at = $3, attempts = $4 WHERE position = $1 AND lease = $2`
	sqlPark  = `UPDATE outbox SET lease = 0, parked_at = $3, parked_reason = $4 WHERE position = $1 AND lease = $2`

	sqlDepth = `SELECT count(*), count(parked_at) FROM outbox`
	sqlFirst = `SELECT created_at FROM outbox WHERE parked_at IS NULL ORDER BY position LIMIT 1`
)

// move runs fn while no other relay moves leases: a message's right to be claimed depends on the leases of others, which
// must not change between the look and the deed.
func (o Outbox) move(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	return o.db.InTx(ctx, func(tx *sqldb.Tx) error {
		var turn int64
		if err := tx.QueryRowContext(ctx, tx.SQL(sqlLockMoves)).Scan(&turn); err != nil {
			return fmt.Errorf("lock leases: %w", err)
		}
		return fn(tx)
	})
}

// Claim implements outbox.Store.
func (o Outbox) Claim(ctx context.Context, lease int64, until time.Time, limit int) (claimed []outbox.Message, err error) {
	err = o.move(ctx, func(tx *sqldb.Tx) error {
		claimed = nil
		at := now()
		rows, err := tx.QueryContext(ctx, tx.SQL(sqlClaim), lease, at, employee.Moment(until), limit, at.Add(outbox.FarAhead), at.Add(-outbox.ParkedFor))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var m outbox.Message
			if err := rows.Scan(&m.Position, &m.EventID, &m.EmployeeID, &m.Body, &m.Attempts); err != nil {
				return err
			}
			claimed = append(claimed, m)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("claim outbox: %w", err)
	}
	slices.SortFunc(claimed, func(a, b outbox.Message) int { return cmp.Compare(a.Position, b.Position) })
	return claimed, nil
}

// Renew implements outbox.Store.
func (o Outbox) Renew(ctx context.Context, lease int64, until time.Time, positions []int64) (kept []int64, err error) {
	err = o.move(ctx, func(tx *sqldb.Tx) error {
		kept = nil
		return tx.SelectContext(ctx, &kept, `UPDATE outbox SET due_at = $2 WHERE lease = $1 AND `+o.listed("$3")+` RETURNING position`,
			lease, employee.Moment(until), o.list(positions))
	})
	if err != nil {
		return nil, fmt.Errorf("renew outbox leases: %w", err)
	}
	return kept, nil
}

// Release implements outbox.Store.
func (o Outbox) Release(ctx context.Context, lease int64, positions []int64) error {
	return o.exec(ctx, "release outbox", `UPDATE outbox SET lease = 0, due_at = $2 WHERE lease = $1 AND `+o.listed("$3"),
		lease, now(), o.list(positions))
}

// Defer implements outbox.Store.
func (o Outbox) Defer(ctx context.Context, lease, position int64, attempts int, due time.Time) error {
	return o.exec(ctx, "defer event", sqlDefer, position, lease, employee.Moment(due), attempts)
}

// Park implements outbox.Store.
func (o Outbox) Park(ctx context.Context, lease, position int64, reason string) error {
	return o.exec(ctx, "park event", sqlPark, position, lease, now(), reason)
}

func (o Outbox) exec(ctx context.Context, what, query string, args ...any) error {
	err := o.move(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Remove implements outbox.Store. It is a single statement: run twice, it does no harm.
func (o Outbox) Remove(ctx context.Context, positions []int64) error {
	if _, err := o.db.ExecContext(ctx, `DELETE FROM outbox WHERE `+o.listed("$1"), o.list(positions)); err != nil {
		return fmt.Errorf("remove from outbox: %w", err)
	}
	return nil
}

// Depth implements outbox.Store.
func (o Outbox) Depth(ctx context.Context) (outbox.Depth, error) {
	var d outbox.Depth
	if err := o.db.Reader().QueryRowContext(ctx, sqlDepth).Scan(&d.Waiting, &d.Parked); err != nil {
		return d, fmt.Errorf("count outbox: %w", err)
	}
	d.Waiting -= d.Parked
	err := o.db.Reader().QueryRowContext(ctx, sqlFirst).Scan(&d.Oldest)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return d, fmt.Errorf("find the oldest event: %w", err)
	}
	return d, nil
}

// listed is the condition that the position is in the list given as the argument.
func (o Outbox) listed(arg string) string {
	if o.db.Engine == sqldb.PostgreSQL {
		return `position = ANY (` + arg + `)`
	}
	return `position IN (SELECT value FROM json_each(` + arg + `))`
}

func (o Outbox) list(positions []int64) any {
	if o.db.Engine == sqldb.PostgreSQL {
		return pq.Int64Array(positions)
	}
	text, _ := json.Marshal(positions) // numbers always marshal
	return string(text)
}

func now() time.Time { return employee.Moment(time.Now()) }
