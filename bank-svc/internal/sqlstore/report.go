package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"hirewire.dev/bank-svc/internal/reconcile"
	"hirewire.dev/platform/sqldb"
)

const reportColumns = `id, status, dry_run, trigger_name, employees_checked, accounts_opened, accounts_updated, accounts_closed,
	accounts_orphaned, orphaned_account_ids, error, requested_at, started_at, finished_at, page_token, walked, lease`

func scanRun(row interface{ Scan(...any) error }) (r reconcile.Run, err error) {
	var orphans string
	var started, finished sql.NullTime
	err = row.Scan(&r.ID, &r.Status, &r.DryRun, &r.Trigger, &r.EmployeesChecked, &r.AccountsOpened, &r.AccountsUpdated, &r.AccountsClosed,
		&r.AccountsOrphaned, &orphans, &r.Error, &r.RequestedAt, &started, &finished, &r.PageToken, &r.Walked, &r.Lease)
	r.OrphanedAccountIDs = strings.Fields(orphans)
	r.RequestedAt, r.StartedAt, r.FinishedAt = r.RequestedAt.UTC(), utc(started), utc(finished)
	return r, err
}

func utc(t sql.NullTime) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}

// find reads one reconciliation.
func (s *Store) find(ctx context.Context, q querier, where string, args ...any) (run reconcile.Run, ok bool, err error) {
	rows, err := q.QueryContext(ctx, `SELECT `+reportColumns+` FROM reconciliations WHERE `+where, args...)
	if err != nil {
		return reconcile.Run{}, false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if !rows.Next() {
		return reconcile.Run{}, false, rows.Err()
	}
	run, err = scanRun(rows)
	return run, err == nil, err
}

// Report reads one reconciliation.
//
// Errors: reconcile.ErrNotFound.
func (s *Store) Report(ctx context.Context, id string) (reconcile.Report, error) {
	run, ok, err := s.find(ctx, s.db.Reader(), "id = $1", id)
	if err != nil {
		return reconcile.Report{}, fmt.Errorf("read reconciliation: %w", err)
	}
	if !ok {
		return reconcile.Report{}, reconcile.ErrNotFound
	}
	return run.Report, nil
}

// Reports lists reconciliations, newest first: those before the given one, "" for all, at most limit.
func (s *Store) Reports(ctx context.Context, before string, limit int) (all []reconcile.Report, err error) {
	rows, err := s.db.Reader().QueryContext(ctx, `SELECT `+reportColumns+` FROM reconciliations WHERE $1 = '' OR id < $1 ORDER BY id DESC LIMIT $2`, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list reconciliations: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		run, err := scanRun(rows)
		if err != nil {
			return nil, fmt.Errorf("list reconciliations: %w", err)
		}
		all = append(all, run.Report)
	}
	return all, rows.Err()
}

// Finish implements reconcile.Store.
func (s *Store) Finish(ctx context.Context, r reconcile.Run, failure string) (reconcile.Report, error) {
	status, orphans, count := reconcile.Failed, []string(nil), int64(0)
	if failure == "" {
		status = reconcile.Succeeded
		var err error
		if orphans, count, err = s.orphans(ctx, r); err != nil {
			return reconcile.Report{}, fmt.Errorf("find orphaned accounts: %w", err)
		}
	}
	r.Status, r.Error, r.FinishedAt = status, failure, now()
	r.OrphanedAccountIDs, r.AccountsOrphaned = orphans, count
	err := s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		err := fenced(tx.ExecContext(ctx, `UPDATE reconciliations SET status = $3, error = $4, finished_at = $5, accounts_orphaned = $6,
			orphaned_account_ids = $7, leased_until = NULL WHERE id = $1 AND lease = $2 AND status = 'RUNNING'`,
			r.ID, r.Lease, string(status), failure, r.FinishedAt, count, strings.Join(orphans, " ")))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM reconciliations WHERE status IN ('SUCCEEDED', 'FAILED') AND id NOT IN (
			SELECT id FROM reconciliations WHERE status IN ('SUCCEEDED', 'FAILED') ORDER BY id DESC LIMIT $1)`, keepReports)
		return err
	})
	if err != nil {
		return reconcile.Report{}, fmt.Errorf("finish the reconciliation: %w", err)
	}
	return r.Report, nil
}

// orphans are the accounts, opened before the run began, whose employees it has not met: the ids of the first, and how many.
func (s *Store) orphans(ctx context.Context, r reconcile.Run) (ids []string, count int64, err error) {
	rows, err := s.db.Reader().QueryContext(ctx, `SELECT a.id FROM accounts AS a WHERE a.status <> 'TOMBSTONE' AND a.created_at < $2
		AND NOT EXISTS (SELECT 1 FROM reconciled_employees AS m WHERE m.reconciliation_id = $1 AND m.employee_id = a.employee_id)
		ORDER BY a.id`, r.ID, r.StartedAt)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, 0, err
		}
		if count++; count <= reconcile.MaxOrphans {
			ids = append(ids, id)
		}
	}
	return ids, count, rows.Err()
}

// Sweep implements reconcile.Store.
func (s *Store) Sweep(ctx context.Context) (bool, error) {
	res, err := s.db.ExecContext(ctx, `DELETE FROM reconciled_employees WHERE (reconciliation_id, employee_id) IN (
		SELECT reconciliation_id, employee_id FROM reconciled_employees WHERE reconciliation_id NOT IN (
			SELECT id FROM reconciliations WHERE status = 'RUNNING') LIMIT $1)`, sweepBatch)
	if err != nil {
		return false, fmt.Errorf("sweep reconciliations: %w", err)
	}
	n, err := res.RowsAffected()
	return n > 0, err
}
