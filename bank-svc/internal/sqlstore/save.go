package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
)

// batch is what a transaction makes of some accounts: read once, changed in memory, written once.
type batch struct {
	current map[string]account.Account // as it will be
	created []string                   // employees without a row so far
	changed []string                   // employees whose row is to be changed
	dirty   map[string]bool
}

func newBatch(current map[string]account.Account) *batch {
	return &batch{current: current, dirty: make(map[string]bool, len(current))}
}

func (b *batch) step(employeeID string, next func(*account.Account) (account.Account, account.Action)) Outcome {
	before, known := b.current[employeeID]
	var current *account.Account
	if known {
		current = &before
	}
	after, action := next(current)
	if action.Writes() {
		if !known {
			after.ID = id.New("acc")
			b.created = append(b.created, employeeID)
		} else if !b.dirty[employeeID] {
			b.changed = append(b.changed, employeeID)
		}
		b.dirty[employeeID] = true
		b.current[employeeID] = after
	}
	o := Outcome{Action: action}
	if after.Status != account.Tombstone {
		o.AccountID = after.ID
	}
	return o
}

// save writes the batch. It returns the employees whose row another transaction has made in the meantime; of those nothing is written.
func (s *Store) save(ctx context.Context, tx querier, b *batch) (lost map[string]bool, err error) {
	if len(b.dirty) == 0 {
		return nil, nil
	}
	if err := s.number(ctx, tx, b); err != nil {
		return nil, err
	}
	slices.Sort(b.created)
	slices.Sort(b.changed)
	at := now()
	if err := s.update(ctx, tx, b.pick(b.changed), at); err != nil {
		return nil, fmt.Errorf("update accounts: %w", err)
	}
	if lost, err = s.insert(ctx, tx, b.pick(b.created), at); err != nil {
		return nil, fmt.Errorf("insert accounts: %w", err)
	}
	return lost, nil
}

func (b *batch) pick(employeeIDs []string) []account.Account {
	all := make([]account.Account, len(employeeIDs))
	for i, e := range employeeIDs {
		all[i] = b.current[e]
	}
	return all
}

// number gives account numbers to the accounts that have none.
func (s *Store) number(ctx context.Context, tx querier, b *batch) error {
	var need []string
	for e := range b.dirty {
		if a := b.current[e]; a.Number == "" && a.Status != account.Tombstone {
			need = append(need, e)
		}
	}
	if len(need) == 0 {
		return nil
	}
	slices.Sort(need)
	numbers := s.serials.take(need)
	if short := int64(len(need) - len(numbers)); short > 0 {
		r, err := s.takeSerials(ctx, tx, short)
		if err != nil {
			return err
		}
		for n := r.from; n < r.to; n++ {
			numbers = append(numbers, n)
		}
	}
	for i, e := range need {
		a := b.current[e]
		var err error
		if a.Number, err = s.issuer.Number(numbers[i]); err != nil {
			return fmt.Errorf("number accounts: %w", err)
		}
		b.current[e] = a
	}
	return nil
}

// one scans the only row.
func one[T any](rows *sql.Rows) (v T, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	if !rows.Next() {
		return v, errors.Join(sql.ErrNoRows, rows.Err())
	}
	if err := rows.Scan(&v); err != nil {
		return v, err
	}
	return v, rows.Err()
}

// The rows of changed accounts are locked, so that nothing older can be written over them.
func (s *Store) update(ctx context.Context, tx querier, all []account.Account, at time.Time) error {
	if len(all) == 0 {
		return nil
	}
	const set = `account_number = %[1]s, holder_name = %[2]s, currency = %[3]s, status = %[4]s, employee_version = %[5]s,
		opened_by_event_id = %[6]s, updated_at = %[7]s`
	if s.db.Engine == sqldb.PostgreSQL {
		c := columns(all)
		_, err := tx.ExecContext(ctx, `UPDATE accounts SET `+fmt.Sprintf(set, "n.number", "n.holder", "n.currency", "n.status", "n.version", "n.opened_by", "$8")+
			` FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[])
				AS n (employee_id, number, holder, currency, status, version, opened_by)
			WHERE accounts.employee_id = n.employee_id`,
			c.employees, c.numbers, c.holders, c.currencies, c.statuses, c.versions, c.openedBy, at)
		return err
	}
	query := `UPDATE accounts SET ` + fmt.Sprintf(set, "$1", "$2", "$3", "$4", "$5", "$6", "$7") + ` WHERE employee_id = $8`
	for _, a := range all {
		if _, err := tx.ExecContext(ctx, query, null(a.Number), a.HolderName, a.Currency, a.Status, a.EmployeeVersion,
			a.OpenedByEventID, at, a.EmployeeID); err != nil {
			return err
		}
	}
	return nil
}

const (
	insertInto = `INSERT INTO accounts (employee_id, account_number, holder_name, currency, status, employee_version, opened_by_event_id,
		id, created_at, updated_at) `
	// insertMany is PostgreSQL's.
	insertMany = insertInto + `SELECT n.*, $9::timestamptz, $9::timestamptz
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[]) AS n
		ON CONFLICT (employee_id) DO NOTHING RETURNING employee_id`
)

func (s *Store) insert(ctx context.Context, tx querier, all []account.Account, at time.Time) (lost map[string]bool, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	if s.db.Engine == sqldb.PostgreSQL {
		c := columns(all)
		rows, err := s.hot(ctx, tx, insertMany, c.employees, c.numbers, c.holders, c.currencies, c.statuses, c.versions, c.openedBy, c.ids, at)
		if err != nil {
			return nil, err
		}
		return missing(all, rows)
	}
	// SQLite's transaction holds the only write lock: nobody can have come in between.
	const width = 10
	const most = 500
	for chunk := range slices.Chunk(all, most) {
		args := make([]any, 0, width*len(chunk))
		for _, a := range chunk {
			args = append(args, a.EmployeeID, null(a.Number), a.HolderName, a.Currency, string(a.Status), a.EmployeeVersion,
				a.OpenedByEventID, a.ID, at, at)
		}
		if _, err := tx.ExecContext(ctx, insertInto+values(width, len(chunk)), args...); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// missing finds out for which accounts no row came back.
func missing(all []account.Account, rows *sql.Rows) (lost map[string]bool, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	stored := make(map[string]bool, len(all))
	for rows.Next() {
		var e string
		if err := rows.Scan(&e); err != nil {
			return nil, err
		}
		stored[e] = true
	}
	if len(stored) == len(all) || rows.Err() != nil {
		return nil, rows.Err()
	}
	lost = make(map[string]bool)
	for _, a := range all {
		if !stored[a.EmployeeID] {
			lost[a.EmployeeID] = true
		}
	}
	return lost, nil
}

// columnar are accounts as the arrays that unnest takes apart.
type columnar struct {
	ids, employees, numbers, holders, currencies, statuses, versions, openedBy any
}

func columns(all []account.Account) columnar {
	n := len(all)
	ids, employees, holders, currencies := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	statuses, versions, openedBy := make([]string, n), make([]int64, n), make([]string, n)
	numbers := make([]sql.NullString, n)
	for i, a := range all {
		ids[i], employees[i], holders[i], currencies[i] = a.ID, a.EmployeeID, a.HolderName, a.Currency
		statuses[i], versions[i], openedBy[i] = string(a.Status), a.EmployeeVersion, a.OpenedByEventID
		numbers[i] = null(a.Number)
	}
	return columnar{
		pq.Array(ids), pq.Array(employees), pq.Array(numbers), pq.Array(holders), pq.Array(currencies),
		pq.Array(statuses), pq.Array(versions), pq.Array(openedBy),
	}
}

func null(text string) sql.NullString { return sql.NullString{String: text, Valid: text != ""} }

// values is "VALUES (?, …), (…)" for rows of a width, for SQLite: it looks up numbered parameters one by one in a list, which
// takes the square of their number.
func values(width, rows int) string {
	row := "(" + strings.Repeat("?, ", width-1) + "?)"
	return "VALUES " + strings.Repeat(row+", ", rows-1) + row
}
