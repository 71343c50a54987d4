package sqlstore

import (
	"context"
	"fmt"
	"time"

	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/sqldb"
)

// SetFailing implements subscription.Store.
func (s *Store) SetFailing(ctx context.Context, id string, since time.Time) error {
	return changeError(s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		epoch, err := newEpoch(ctx, tx)
		if err != nil {
			return err
		}
		done, err := tx.ExecContext(ctx, `UPDATE subscriptions SET failing_since = $2, warned_at = NULL, changed_epoch = $3
			WHERE id = $1 AND deleted_at IS NULL AND (failing_since IS NULL) <> ($4 = 1)`,
			id, nullTime(since), epoch, boolInt(since.IsZero()))
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

// Counts implements subscription.Store.
func (s *Store) Counts(ctx context.Context) (map[subscription.Status]int, error) {
	var rows []struct {
		Status string `db:"status"`
		N      int    `db:"n"`
	}
	if err := s.db.Reader().SelectContext(ctx, &rows, `SELECT status, count(*) AS n FROM subscriptions WHERE deleted_at IS NULL GROUP BY status`); err != nil {
		return nil, err
	}
	counts := make(map[subscription.Status]int, len(rows))
	for _, row := range rows {
		counts[subscription.Status(row.Status)] = row.N
	}
	return counts, nil
}
