package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/platform/sqldb"
)

const accountColumns = `id, COALESCE(account_number, ''), holder_name, currency, status, employee_id, employee_version,
	opened_by_event_id, balance_minor, created_at, updated_at`

func scanAccount(row interface{ Scan(...any) error }) (a account.Account, err error) {
	err = row.Scan(&a.ID, &a.Number, &a.HolderName, &a.Currency, &a.Status, &a.EmployeeID, &a.EmployeeVersion,
		&a.OpenedByEventID, &a.BalanceMinor, &a.CreatedAt, &a.UpdatedAt)
	a.CreatedAt, a.UpdatedAt = a.CreatedAt.UTC(), a.UpdatedAt.UTC()
	return a, err
}

func scanAccounts(rows *sql.Rows) (all []account.Account, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		a, err := scanAccount(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, rows.Err()
}

// Current reads the accounts and tombstones of employees, outside any transaction: they may change at once.
func (s *Store) Current(ctx context.Context, employeeIDs []string) (map[string]account.Account, error) {
	return s.current(ctx, s.db.Reader(), employeeIDs, "")
}

// lockRows makes current hold the rows until the end of the transaction.
const lockRows = " FOR UPDATE"

// currentQuery reads in always the same order, so that two transactions wait for each other instead of deadlocking.
func (s *Store) currentQuery(lock string) string {
	return s.db.SQL(`SELECT ` + accountColumns + ` FROM accounts WHERE employee_id IN ` + s.inList("$1") + ` ORDER BY employee_id` + lock)
}

// current reads the accounts and tombstones of employees, by employee; lock is lockRows or nothing.
func (s *Store) current(ctx context.Context, q querier, employeeIDs []string, lock string) (map[string]account.Account, error) {
	rows, err := s.hot(ctx, q, s.currentQuery(lock), s.list(employeeIDs))
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	all, err := scanAccounts(rows)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	byEmployee := make(map[string]account.Account, len(all))
	for _, a := range all {
		byEmployee[a.EmployeeID] = a
	}
	return byEmployee, nil
}

// Outcome is what a change did.
type Outcome struct {
	Action    account.Action
	AccountID string // empty when there is none
}

// decide gives the account after the i-th change.
type decide func(i int, current *account.Account) (account.Account, account.Action)

// apply decides, for each employee in turn, what becomes of its account, and stores that, within the caller's transaction. An
// employee may come more than once.
//
// With fresh, none of the employees is expected to have an account: on PostgreSQL they are then not looked up first.
func (s *Store) apply(ctx context.Context, tx querier, employeeIDs []string, fresh bool, next decide) ([]Outcome, error) {
	outcomes := make([]Outcome, len(employeeIDs))
	open := make([]int, len(employeeIDs))
	for i := range open {
		open[i] = i
	}
	// On PostgreSQL another transaction can open an account between our look and our insert. Its account then counts, and
	// what we had decided for the employee is decided again.
	for round := range 5 {
		if len(open) == 0 {
			return outcomes, nil
		}
		seen := map[string]account.Account{}
		if !fresh || round > 0 || s.db.Engine != sqldb.PostgreSQL {
			var err error
			if seen, err = s.current(ctx, tx, distinct(employeeIDs, open), lockRows); err != nil {
				return nil, err
			}
		}
		b := newBatch(seen)
		for _, i := range open {
			outcomes[i] = b.step(employeeIDs[i], func(current *account.Account) (account.Account, account.Action) { return next(i, current) })
		}
		lost, err := s.save(ctx, tx, b)
		if err != nil {
			return nil, err
		}
		open = slices.DeleteFunc(open, func(i int) bool { return !lost[employeeIDs[i]] })
	}
	return nil, fmt.Errorf("save accounts: %w", errContended)
}

var errContended = errors.New("others keep opening the same accounts")

func distinct(employeeIDs []string, which []int) []string {
	ids := make([]string, 0, len(which))
	for _, i := range which {
		ids = append(ids, employeeIDs[i])
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Apply applies changes that events told of, within the caller's transaction, in their order. A change whose outcome is Fetch
// was not applied.
func (s *Store) Apply(ctx context.Context, tx *sql.Tx, changes []account.Change) ([]Outcome, error) {
	ids, fresh := make([]string, len(changes)), true
	for i, c := range changes {
		ids[i] = c.EmployeeID
		fresh = fresh && c.Version == 1 && c.State != nil
	}
	return s.apply(ctx, tx, ids, fresh, func(i int, current *account.Account) (account.Account, account.Action) {
		return account.Apply(current, changes[i])
	})
}

// Account reads one account.
//
// Errors: account.ErrNotFound.
func (s *Store) Account(ctx context.Context, id string) (account.Account, error) {
	a, err := scanAccount(s.db.Reader().QueryRowContext(ctx,
		`SELECT `+accountColumns+` FROM accounts WHERE id = $1 AND status <> 'TOMBSTONE'`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return account.Account{}, account.ErrNotFound
	}
	if err != nil {
		return account.Account{}, fmt.Errorf("read account: %w", err)
	}
	return a, nil
}

// AccountFilter chooses accounts; a zero field chooses all.
type AccountFilter struct {
	EmployeeID string
	Status     account.Status
}

// Accounts lists accounts by id, those after the given one, at most limit.
func (s *Store) Accounts(ctx context.Context, f AccountFilter, after string, limit int) ([]account.Account, error) {
	where, args := []string{"id > $1", "status <> 'TOMBSTONE'"}, []any{after}
	if f.EmployeeID != "" {
		args = append(args, f.EmployeeID)
		where = append(where, fmt.Sprintf("employee_id = $%d", len(args)))
	}
	if f.Status != "" {
		args = append(args, f.Status)
		where = append(where, fmt.Sprintf("status = $%d", len(args)))
	}
	args = append(args, limit)
	rows, err := s.db.Reader().QueryContext(ctx, fmt.Sprintf(`SELECT %s FROM accounts WHERE %s ORDER BY id LIMIT $%d`,
		accountColumns, strings.Join(where, " AND "), len(args)), args...)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	all, err := scanAccounts(rows)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return all, nil
}

var _ querier = (*sqldb.Tx)(nil)
