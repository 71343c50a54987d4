package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/platform/sqldb"
)

// Erase implements history.Store. It is one transaction: an employee has few events.
func (s *Store) Erase(ctx context.Context, employeeID string, e audit.Entry) (erased history.Erased, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		number, err := newChange(ctx, tx)
		if err != nil {
			return err
		}
		if erased.Cancelled, err = s.cancelEmployee(ctx, tx, employeeID); err != nil {
			return err
		}
		var positions []int64
		if err := tx.SelectContext(ctx, &positions, `UPDATE events SET payload = NULL WHERE employee_id = $1 AND payload IS NOT NULL RETURNING position`, employeeID); err != nil {
			return err
		}
		erased.Events = int64(len(positions))
		if len(positions) > 0 {
			if err := s.noteErasure(ctx, tx, delivery.Erasure{Number: number, EmployeeID: employeeID, Position: slices.Max(positions)}); err != nil {
				return err
			}
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

// erasuresKept is how long erasures are kept. A replica that has not looked for them in that time holds nothing any more.
const erasuresKept = time.Hour

func (s *Store) noteErasure(ctx context.Context, tx *sqldb.Tx, e delivery.Erasure) error {
	now := s.Now()
	if _, err := tx.ExecContext(ctx, `DELETE FROM erasures WHERE erased_at < $1`, now.Add(-erasuresKept)); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO erasures (number, employee_id, position, erased_at) VALUES ($1, $2, $3, $4)`,
		e.Number, e.EmployeeID, e.Position, now)
	return err
}

// Erasures implements delivery.Store.
func (s *Store) Erasures(ctx context.Context, after int64) (list []delivery.Erasure, err error) {
	var rows []struct {
		Number     int64  `db:"number"`
		EmployeeID string `db:"employee_id"`
		Position   int64  `db:"position"`
	}
	if err := s.db.Reader().SelectContext(ctx, &rows, `SELECT number, employee_id, position FROM erasures WHERE number > $1 ORDER BY number`, after); err != nil {
		return nil, wrap("read erasures", err)
	}
	for _, row := range rows {
		list = append(list, delivery.Erasure(row))
	}
	return list, nil
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
