package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"hirewire.dev/employee-svc/internal/employee"
)

// scanner is a row of a result.
type scanner interface{ Scan(dest ...any) error }

// scanEmployee reads employeeColumns, after what comes before them.
func scanEmployee(row scanner, before ...any) (employee.Employee, error) {
	var e employee.Employee
	err := row.Scan(append(before, &e.ID, &e.Number, &e.GivenName, &e.FamilyName, &e.Email, &e.JobTitle, &e.Department, &e.HireDate,
		&e.Country, &e.Currency, &e.Status, &e.Version, &e.CreatedAt, &e.UpdatedAt)...)
	e.CreatedAt, e.UpdatedAt = employee.Moment(e.CreatedAt), employee.Moment(e.UpdatedAt)
	return e, err
}

// Get reads one employee, or ErrNotFound.
func (s *Store) Get(ctx context.Context, employeeID string) (employee.Employee, error) {
	e, err := scanEmployee(s.stmts.get.QueryRowContext(ctx, employeeID))
	if errors.Is(err, sql.ErrNoRows) {
		return e, employee.ErrNotFound
	}
	if err != nil {
		return e, fmt.Errorf("get employee: %w", err)
	}
	return e, nil
}

const (
	// pageBytes is about the most that a page takes as a message: below the size that gRPC clients accept.
	pageBytes     = 768 << 10
	employeeBytes = 150 // besides its texts
)

// List reads a page of the walk. It sees everything that was committed when it began.
func (s *Store) List(ctx context.Context, q employee.Query) (employee.Page, error) {
	if q.After == 0 && !q.UpdatedAfter.IsZero() {
		first, any, err := s.firstUpdated(ctx, q.UpdatedAfter)
		if err != nil || !any {
			return employee.Page{}, err
		}
		q.After = first - 1
	}
	rows, err := s.page(ctx, q)
	if err != nil {
		return employee.Page{}, fmt.Errorf("list employees: %w", err)
	}
	defer rows.Close()
	var page employee.Page
	var position int64
	size := 0
	for rows.Next() {
		if len(page.Employees) == q.Limit || size > pageBytes { // one more than fits: the walk goes on
			page.Next = position
			break
		}
		e, err := scanEmployee(rows, &position)
		if err != nil {
			return employee.Page{}, fmt.Errorf("list employees: %w", err)
		}
		page.Employees = append(page.Employees, e)
		size += len(e.Number) + len(e.GivenName) + len(e.FamilyName) + len(e.Email) + len(e.JobTitle) + len(e.Department) + employeeBytes
	}
	if err := rows.Err(); err != nil {
		return employee.Page{}, fmt.Errorf("list employees: %w", err)
	}
	return page, nil
}

func (s *Store) page(ctx context.Context, q employee.Query) (*sql.Rows, error) {
	limit := q.Limit + 1
	updated, status := !q.UpdatedAfter.IsZero(), q.Status != 0
	switch {
	case updated && status:
		return s.stmts.listUpdatedToo.QueryContext(ctx, q.After, limit, q.Status, employee.Moment(q.UpdatedAfter))
	case updated:
		return s.stmts.listUpdated.QueryContext(ctx, q.After, limit, employee.Moment(q.UpdatedAfter))
	case status:
		return s.stmts.listStatus.QueryContext(ctx, q.After, limit, q.Status)
	}
	return s.stmts.list.QueryContext(ctx, q.After, limit)
}

// manyUpdated is how many employees firstUpdated looks at: where more match, the walk finds them soon enough by itself.
const manyUpdated = 20_000

// firstUpdated is where a walk over the recently updated begins, so that it does not pass all the others first.
func (s *Store) firstUpdated(ctx context.Context, after time.Time) (first int64, any bool, err error) {
	var count int
	if err := s.stmts.firstUpdated.QueryRowContext(ctx, employee.Moment(after), manyUpdated).Scan(&count, &first); err != nil {
		return 0, false, fmt.Errorf("find the first employee: %w", err)
	}
	if count == manyUpdated {
		first = 1
	}
	return first, count > 0, nil
}
