package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/employee-svc/internal/outbox"
	"hirewire.dev/platform/sqldb"
)

// rowWriter inserts by statements with several rows of VALUES each.
type rowWriter struct {
	employees, outbox, requests rowInserter
}

func newRowWriter(ctx context.Context, db *sqldb.DB) (*rowWriter, error) {
	w := &rowWriter{}
	err := errors.Join(
		w.employees.prepare(ctx, db, `employees (id, position, employee_number, given_name, family_name, email, email_key, job_title,
			department, hire_date, country, currency, status, version, created_at, updated_at)`, 16),
		w.outbox.prepare(ctx, db, `outbox (position, event_id, employee_id, body, created_at, lease, due_at)`, 7),
		w.requests.prepare(ctx, db, `requests (tenant, request_id, content_sha256, employee_id, created_at)`, 5))
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *rowWriter) insert(ctx context.Context, tx *sqldb.Tx, first int64, items []*item, slot outbox.Slot) error {
	var withRequest []*item
	for _, it := range items {
		if it.requestID != "" {
			withRequest = append(withRequest, it)
		}
	}
	position := func(i int) int64 { return first + int64(i) }
	err := w.employees.insert(ctx, tx, len(items), func(args []any, i int) []any {
		e := &items[i].employee
		return append(args, e.ID, position(i), e.Number, e.GivenName, e.FamilyName, e.Email, items[i].emailKey, e.JobTitle,
			e.Department, e.HireDate, e.Country, e.Currency, employee.Active, 1, e.CreatedAt, e.UpdatedAt)
	})
	if err != nil {
		return fmt.Errorf("insert employees: %w", err)
	}
	err = w.outbox.insert(ctx, tx, len(items), func(args []any, i int) []any {
		it := items[i]
		return append(args, position(i), it.eventID, it.employee.ID, it.body, it.employee.CreatedAt, slot.Lease, slot.Until)
	})
	if err != nil {
		return fmt.Errorf("insert events: %w", err)
	}
	err = w.requests.insert(ctx, tx, len(withRequest), func(args []any, i int) []any {
		it := withRequest[i]
		return append(args, it.tenant, it.requestID, it.sum[:], it.employee.ID, it.employee.CreatedAt)
	})
	if err != nil {
		return fmt.Errorf("insert request ids: %w", err)
	}
	return nil
}

func (w *rowWriter) close() error {
	return errors.Join(w.employees.close(), w.outbox.close(), w.requests.close())
}

// rowCounts are the numbers of rows for which a statement is prepared, largest first.
var rowCounts = [...]int{64, 8, 1}

// rowInserter inserts rows into one table.
type rowInserter struct {
	stmts [len(rowCounts)]*sql.Stmt
	args  []any // reused: a transaction at a time writes
}

// prepare takes the table with its columns, and their number.
func (in *rowInserter) prepare(ctx context.Context, db *sqldb.DB, into string, columns int) error {
	for i, rows := range rowCounts {
		var b strings.Builder
		b.WriteString("INSERT INTO " + into + " VALUES ")
		for p := range rows * columns {
			switch {
			case p == 0:
				b.WriteByte('(')
			case p%columns == 0:
				b.WriteString("), (")
			default:
				b.WriteString(", ")
			}
			b.WriteString("$" + strconv.Itoa(p+1))
		}
		b.WriteByte(')')
		stmt, err := db.PrepareContext(ctx, b.String()) //nolint:sqlclosecheck // close closes it.
		if err != nil {
			return err
		}
		in.stmts[i] = stmt
	}
	return nil
}

// insert inserts n rows, whose values row appends.
func (in *rowInserter) insert(ctx context.Context, tx *sqldb.Tx, n int, row func(args []any, i int) []any) error {
	defer func() { clear(in.args[:cap(in.args)]) }()
	done := 0
	for i, rows := range rowCounts {
		for n-done >= rows {
			in.args = in.args[:0]
			for range rows {
				in.args = row(in.args, done)
				done++
			}
			if err := exec(ctx, tx, in.stmts[i], in.args...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (in *rowInserter) close() error {
	var errs []error
	for _, stmt := range in.stmts {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	return errors.Join(errs...)
}
