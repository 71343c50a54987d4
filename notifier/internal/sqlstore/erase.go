package sqlstore

import (
	"context"
	"fmt"

	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/platform/sqldb"
)

// Erase implements history.Store. It is one transaction: an employee has few events.
func (s *Store) Erase(ctx context.Context, employeeID string, e audit.Entry) (erased history.Erased, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		var err error
		if erased.Cancelled, err = s.cancelEmployee(ctx, tx, employeeID); err != nil {
			return err
		}
		done, err := tx.ExecContext(ctx, `UPDATE events SET payload = NULL WHERE employee_id = $1 AND payload IS NOT NULL`, employeeID)
		if err != nil {
			return err
		}
		if erased.Events, err = done.RowsAffected(); err != nil {
			return err
		}
		// What receivers answered may repeat what they were sent.
		for _, clear := range []string{
			`UPDATE attempts SET snippet = '', error = '' WHERE delivery_id IN (SELECT id FROM finished_deliveries WHERE employee_id = $1) AND (snippet <> '' OR error <> '')`,
			`UPDATE finished_deliveries SET snippet = '', error = '' WHERE employee_id = $1 AND (snippet <> '' OR error <> '')`,
		} {
			if _, err := tx.ExecContext(ctx, clear, employeeID); err != nil {
				return err
			}
		}
		e.After = map[string]any{"events_erased": erased.Events, "deliveries_cancelled": erased.Cancelled}
		return putAudit(ctx, tx, e)
	})
	if err != nil {
		return history.Erased{}, fmt.Errorf("erase employee: %w", err)
	}
	return erased, nil
}

// cancelEmployee moves an employee's pending deliveries to the history, as cancelled. Whoever holds the lease of one finds it
// gone.
func (s *Store) cancelEmployee(ctx context.Context, tx *sqldb.Tx, employeeID string) (int64, error) {
	var rows []finishedRow
	if err := tx.SelectContext(ctx, &rows, tx.SQL(`DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE employee_id = $1 ORDER BY id FOR UPDATE)
		RETURNING id, event_id, event_type, subscription_id, employee_id, position, attempts, created_at`), employeeID); err != nil {
		return 0, err
	}
	now := s.Now()
	if _, err := s.exec(ctx, tx, addFinished, len(rows), func(args []any, i int) []any {
		r := rows[i]
		return append(args, r.ID, r.EventID, r.EventType, r.SubscriptionID, r.EmployeeID, r.Position, "CANCELLED", r.Attempts, r.CreatedAt, now,
			nil, 0, 0, "", "", "")
	}); err != nil {
		return 0, err
	}
	counts := tally{}
	for _, r := range rows {
		counts[r.SubscriptionID]++
	}
	ids := counts.sorted()
	_, err := s.exec(ctx, tx, addEnded, len(ids), func(args []any, i int) []any {
		return append(args, ids[i], s.shard*2+1, 0, 0, counts[ids[i]])
	})
	return int64(len(rows)), err
}
