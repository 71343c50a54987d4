package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/sqldb"
)

// SetFailing implements subscription.Store.
func (s *Store) SetFailing(ctx context.Context, id string, since time.Time) error {
	return changeError(s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		change, err := newChange(ctx, tx)
		if err != nil {
			return err
		}
		done, err := tx.ExecContext(ctx, `UPDATE subscriptions SET failing_since = $2, warned_at = NULL, changed = $3
			WHERE id = $1 AND deleted_at IS NULL AND (failing_since IS NULL) <> ($4 = 1)`,
			id, nullTime(since), change, boolInt(since.IsZero()))
		if err != nil {
			return fmt.Errorf("set failing: %w", err)
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errNothingChanged
		}
		return nil
	}))
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Warned implements subscription.Store.
func (s *Store) Warned(ctx context.Context, id string, since, at time.Time) (first bool, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE subscriptions SET warned_at = $3
			WHERE id = $1 AND deleted_at IS NULL AND failing_since = $2 AND warned_at IS NULL`, id, since, at)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		first = n > 0
		return err
	})
	return first, err
}

// Stock is what the database holds, for metrics.
type Stock struct {
	Subscriptions map[subscription.Status]int
	// Failing counts the ACTIVE ones that have had nothing but failures for a while.
	Failing int
	// OldestDue is when the most overdue delivery of an ACTIVE subscription became due; zero: there is none.
	OldestDue time.Time
}

// Stock reads it: a look into an index for each active subscription, however much is pending.
func (s *Store) Stock(ctx context.Context) (Stock, error) {
	var rows []struct {
		Status  string `db:"status"`
		N       int    `db:"n"`
		Failing int    `db:"failing"`
	}
	stock := Stock{Subscriptions: map[subscription.Status]int{}}
	if err := s.db.Reader().SelectContext(ctx, &rows, `SELECT status, count(*) AS n, count(failing_since) AS failing
		FROM subscriptions WHERE deleted_at IS NULL GROUP BY status`); err != nil {
		return stock, fmt.Errorf("count subscriptions: %w", err)
	}
	for _, row := range rows {
		stock.Subscriptions[subscription.Status(row.Status)] = row.N
		if row.Status == string(subscription.Active) {
			stock.Failing = row.Failing
		}
	}
	var oldest sql.NullTime
	if err := s.db.Reader().GetContext(ctx, &oldest, `SELECT (SELECT due_at FROM deliveries WHERE subscription_id = s.id AND lease = 0 ORDER BY due_at LIMIT 1) AS due
		FROM subscriptions s WHERE deleted_at IS NULL AND status = 'ACTIVE' ORDER BY 1 NULLS LAST LIMIT 1`); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return stock, fmt.Errorf("find the oldest due delivery: %w", err)
	}
	stock.OldestDue = utc(oldest)
	return stock, nil
}
