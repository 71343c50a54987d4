package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/bank-svc/internal/reconcile"
	"hirewire.dev/platform/sqldb"
)

const (
	maxWaiting  = 16
	keepReports = 50
	sweepBatch  = 2000
)

var _ reconcile.Store = (*Store)(nil)

// Request implements reconcile.Store.
func (s *Store) Request(ctx context.Context, r reconcile.Report, requestID string, since time.Time) (reconcile.Report, bool, error) {
	var found reconcile.Run
	known := false
	err := s.db.InTx(ctx, func(tx *sqldb.Tx) (err error) {
		if found, known, err = s.find(ctx, tx, "request_id = $1", requestID); err != nil || known {
			return err
		}
		if !since.IsZero() {
			found, known, err = s.find(ctx, tx, `NOT dry_run AND (status IN ('WAITING', 'RUNNING') OR started_at > $1) ORDER BY id DESC LIMIT 1`, since)
			if err != nil || known {
				return err
			}
		}
		var waiting int
		if err := tx.GetContext(ctx, &waiting, `SELECT count(*) FROM reconciliations WHERE status = 'WAITING'`); err != nil {
			return err
		}
		if waiting >= maxWaiting {
			return reconcile.ErrTooMany
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO reconciliations (id, request_id, status, dry_run, trigger_name, requested_at)
			VALUES ($1, $2, 'WAITING', $3, $4, $5)`, r.ID, null(requestID), r.DryRun, string(r.Trigger), r.RequestedAt)
		return err
	})
	if errors.Is(err, reconcile.ErrTooMany) {
		return reconcile.Report{}, false, reconcile.ErrTooMany
	}
	if err != nil {
		// The commit's outcome may be unknown, or another call with the request id was first: what is stored decides.
		var lookup error
		if found, known, lookup = s.find(ctx, s.db, "id = $1 OR request_id = $2", r.ID, null(requestID)); lookup != nil || !known {
			return reconcile.Report{}, false, fmt.Errorf("request a reconciliation: %w", err)
		}
	}
	switch {
	case !known:
		return r, true, nil
	case found.DryRun != r.DryRun:
		return reconcile.Report{}, false, reconcile.ErrRequestReused
	}
	return found.Report, found.ID == r.ID, nil
}

// Claim implements reconcile.Store.
func (s *Store) Claim(ctx context.Context, lease time.Duration) (run reconcile.Run, ok bool, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		at := now()
		rows, err := tx.QueryContext(ctx, tx.SQL(`UPDATE reconciliations
			SET status = 'RUNNING', lease = lease + 1, leased_until = $2, started_at = COALESCE(started_at, $1)
			WHERE id = (SELECT id FROM reconciliations
				WHERE status = 'RUNNING' AND leased_until <= $1
				OR status = 'WAITING' AND NOT EXISTS (SELECT 1 FROM reconciliations WHERE status = 'RUNNING')
				ORDER BY status, id LIMIT 1 FOR UPDATE SKIP LOCKED)
			AND (status = 'WAITING' OR status = 'RUNNING' AND leased_until <= $1)
			RETURNING id`), at, at.Add(lease))
		if err != nil {
			return err
		}
		id, err := one[string](rows)
		if errors.Is(err, sql.ErrNoRows) {
			run, ok = reconcile.Run{}, false
			return nil
		}
		if err != nil {
			return err
		}
		run, ok, err = s.find(ctx, tx, "id = $1", id)
		return err
	})
	if _, taken := sqldb.IsUnique(err); taken {
		return reconcile.Run{}, false, nil // another process has begun one at the same moment
	}
	if err != nil {
		return reconcile.Run{}, false, fmt.Errorf("claim a reconciliation: %w", err)
	}
	return run, ok, nil
}

// Hold implements reconcile.Store.
func (s *Store) Hold(ctx context.Context, r reconcile.Run, lease time.Duration, why string) error {
	return fenced(s.db.ExecContext(ctx, `UPDATE reconciliations SET leased_until = $3, error = $4 WHERE id = $1 AND lease = $2 AND status = 'RUNNING'`,
		r.ID, r.Lease, now().Add(lease), why))
}

// fenced turns a write that met no row into ErrLost.
func fenced(res sql.Result, err error) error {
	if err != nil {
		return fmt.Errorf("write the reconciliation: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(reconcile.ErrLost, err)
	}
	return nil
}

// Advance implements reconcile.Store. Storing a page again counts nothing twice: employees are counted when they are first
// met, and accounts that show what they should are left alone.
func (s *Store) Advance(ctx context.Context, r reconcile.Run, page reconcile.Page, lease time.Duration) (next reconcile.Run, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		// First of all the fence: it also makes whoever else believes to have the lease wait.
		err := fenced(tx.ExecContext(ctx, `UPDATE reconciliations SET leased_until = $3, page_token = $4, walked = $5, error = ''
			WHERE id = $1 AND lease = $2 AND status = 'RUNNING'`, r.ID, r.Lease, now().Add(lease), page.Next, page.Next == ""))
		if err != nil {
			return err
		}
		met, err := s.meet(ctx, tx, r.ID, page.Employees)
		if err != nil {
			return err
		}
		actions, err := s.repair(ctx, tx, page.Employees, r.DryRun)
		if err != nil {
			return err
		}
		counts := reconcile.Counts{EmployeesChecked: int64(len(met))}
		for i, action := range actions {
			if e := page.Employees[i].ID; !r.DryRun || met[e] {
				counts.Add(action)
				delete(met, e)
			}
		}
		if _, err := tx.ExecContext(ctx, `UPDATE reconciliations SET employees_checked = employees_checked + $2, accounts_opened = accounts_opened + $3,
			accounts_updated = accounts_updated + $4, accounts_closed = accounts_closed + $5 WHERE id = $1`,
			r.ID, counts.EmployeesChecked, counts.AccountsOpened, counts.AccountsUpdated, counts.AccountsClosed); err != nil {
			return err
		}
		next, _, err = s.find(ctx, tx, "id = $1", r.ID)
		return err
	})
	if err != nil {
		return r, fmt.Errorf("reconcile a page: %w", err)
	}
	return next, nil
}

// meet notes the employees, and gives those that the run had not met before.
func (s *Store) meet(ctx context.Context, tx querier, runID string, employees []account.Employee) (met map[string]bool, err error) {
	ids := make([]string, len(employees))
	for i, e := range employees {
		ids[i] = e.ID
	}
	rows, err := tx.QueryContext(ctx, `INSERT INTO reconciled_employees (reconciliation_id, employee_id)
		SELECT $1, item FROM `+s.inList("$2")+` AS list WHERE true
		ON CONFLICT DO NOTHING RETURNING employee_id`, runID, s.list(ids))
	if err != nil {
		return nil, fmt.Errorf("note employees: %w", err)
	}
	met = make(map[string]bool, len(ids))
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("note employees: %w", err)
		}
		met[id] = true
	}
	return met, rows.Err()
}

// repair makes the accounts show the employees, or finds out what that would take.
func (s *Store) repair(ctx context.Context, tx querier, employees []account.Employee, dryRun bool) ([]account.Action, error) {
	ids := make([]string, len(employees))
	for i, e := range employees {
		ids[i] = e.ID
	}
	actions := make([]account.Action, len(employees))
	if !dryRun {
		outcomes, err := s.apply(ctx, tx, ids, false, func(i int, current *account.Account) (account.Account, account.Action) {
			return account.Reconcile(current, employees[i])
		})
		for i, o := range outcomes {
			actions[i] = o.Action
		}
		return actions, err
	}
	current, err := s.current(ctx, tx, ids, "")
	if err != nil {
		return nil, err
	}
	for i, e := range employees {
		if a, ok := current[e.ID]; ok {
			_, actions[i] = account.Reconcile(&a, e)
		} else {
			_, actions[i] = account.Reconcile(nil, e)
		}
	}
	return actions, nil
}
