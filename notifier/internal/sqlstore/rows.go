package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/jmoiron/sqlx"

	"hirewire.dev/platform/sqldb"
)

// rowsAtOnce is how many rows one statement of a many takes; fewer go in powers of two below it.
const rowsAtOnce = 64

// many is a statement for any number of rows: %s in its text stands for "(?, ?, …), (…)". The texts are few, so they can be
// prepared (SQLite, where parsing costs more than running).
type many struct {
	text  string
	cols  int
	types []string
	once  sync.Once
	sql   map[sqldb.Engine]*[7]string // for 1, 2, 4 … 64 rows
}

// statement makes a many of rows of cols columns. Where PostgreSQL cannot tell the columns' types, types says them.
func statement(text string, cols int, types ...string) *many {
	return &many{text: text, cols: cols, types: types}
}

func (m *many) query(e sqldb.Engine, power int) string {
	m.once.Do(func() {
		m.sql = map[sqldb.Engine]*[7]string{sqldb.SQLite: {}, sqldb.PostgreSQL: {}}
		for p := range m.sql[sqldb.SQLite] {
			m.sql[sqldb.PostgreSQL][p] = m.write(1<<p, m.numbered)
			// SQLite looks numbered ones up by name, each among all.
			m.sql[sqldb.SQLite][p] = m.write(1<<p, func(int) string { return "?" })
		}
	})
	return m.sql[e][power]
}

// numbered is PostgreSQL's n-th placeholder, from 0.
func (m *many) numbered(n int) string {
	if m.types == nil {
		return fmt.Sprintf("$%d", n+1)
	}
	return fmt.Sprintf("CAST($%d AS %s)", n+1, m.types[n%m.cols])
}

func (m *many) write(rows int, placeholder func(n int) string) string {
	var b strings.Builder
	for n := range rows * m.cols {
		switch {
		case n == 0:
			b.WriteByte('(')
		case n%m.cols == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		b.WriteString(placeholder(n))
	}
	b.WriteByte(')')
	return strings.Replace(m.text, "%s", b.String(), 1)
}

// powers calls fn for each statement that n rows take, with the first row, how many, and the power of two that it is.
func powers(n int, fn func(from, rows, power int) error) error {
	for from := 0; from < n; {
		power := 6
		for 1<<power > n-from {
			power--
		}
		if err := fn(from, 1<<power, power); err != nil {
			return err
		}
		from += 1 << power
	}
	return nil
}

// prepare makes sure that m's statements for n rows are prepared (SQLite). There is one connection: prepare before the
// transaction begins.
func (s *Store) prepare(ctx context.Context, n int, ms ...*many) error {
	if s.db.Engine != sqldb.SQLite {
		return nil
	}
	for _, m := range ms {
		err := powers(n, func(_, _, power int) error { return s.prepareOne(ctx, m.query(s.db.Engine, power)) })
		if err != nil {
			return err
		}
	}
	return nil
}

// prepareOne prepares a statement for as long as the database is open.
func (s *Store) prepareOne(ctx context.Context, query string) error {
	if _, ok := s.stmts.Load(query); ok {
		return nil
	}
	st, err := s.db.PreparexContext(ctx, query)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if _, raced := s.stmts.LoadOrStore(query, st); raced {
		return st.Close() //nolint:sqlclosecheck // Only the one that is not kept is closed.
	}
	return nil
}

// exec runs m for n rows; row appends the i-th row's columns. It answers how many rows were affected.
func (s *Store) exec(ctx context.Context, tx *sqldb.Tx, m *many, n int, row func(args []any, i int) []any) (affected int64, err error) {
	args := make([]any, 0, min(n, rowsAtOnce)*m.cols)
	err = powers(n, func(from, rows, power int) error {
		args = args[:0]
		for i := range rows {
			args = row(args, from+i)
		}
		query := m.query(s.db.Engine, power)
		var res interface{ RowsAffected() (int64, error) }
		var err error
		if st, ok := s.stmts.Load(query); ok {
			res, err = tx.StmtxContext(ctx, st.(*sqlx.Stmt)).ExecContext(ctx, args...)
		} else {
			res, err = tx.ExecContext(ctx, query, args...)
		}
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		affected += n
		return err
	})
	return affected, err
}

// query runs m for n rows and hands each row of the answers to scan.
func (s *Store) query(ctx context.Context, tx *sqldb.Tx, m *many, n int, row func(args []any, i int) []any, scan func(rows *sqlx.Rows) error) error {
	args := make([]any, 0, min(n, rowsAtOnce)*m.cols)
	return powers(n, func(from, count, power int) (err error) {
		args = args[:0]
		for i := range count {
			args = row(args, from+i)
		}
		query := m.query(s.db.Engine, power)
		var rows *sqlx.Rows
		if st, ok := s.stmts.Load(query); ok {
			rows, err = tx.StmtxContext(ctx, st.(*sqlx.Stmt)).QueryxContext(ctx, args...) //nolint:sqlclosecheck // The transaction's end closes it.
		} else {
			rows, err = tx.QueryxContext(ctx, query, args...)
		}
		if err != nil {
			return err
		}
		defer func() {
			if closed := rows.Close(); err == nil {
				err = closed
			}
		}()
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}
