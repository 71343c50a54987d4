package sqldb

import (
	"context"
	"database/sql/driver"
)

// stmt is a prepared statement under the guarantees of conn.
type stmt struct {
	driver.Stmt
	conn *conn
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	x := s.conn.start(ctx)
	var res driver.Result
	var err error
	if e, ok := s.Stmt.(driver.StmtExecContext); ok {
		res, err = e.ExecContext(ctx, args)
	} else { // COPY
		res, err = s.Exec(values(args))
	}
	return res, x.end(err)
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	x := s.conn.start(ctx)
	var rs driver.Rows
	var err error
	if q, ok := s.Stmt.(driver.StmtQueryContext); ok {
		rs, err = q.QueryContext(ctx, args)
	} else {
		rs, err = s.Query(values(args))
	}
	return x.rows(rs, err)
}

func values(args []driver.NamedValue) []driver.Value {
	out := make([]driver.Value, len(args))
	for i, a := range args {
		out[i] = a.Value
	}
	return out
}

// pqRows is what lib/pq's rows can do.
type pqRows interface {
	driver.RowsNextResultSet
	driver.RowsColumnTypeScanType
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeLength
	driver.RowsColumnTypePrecisionScale
}

// rows keep watch over the context until they are closed.
type rows struct {
	pqRows
	watch exchange
}

func (x exchange) rows(rs driver.Rows, err error) (driver.Rows, error) {
	if err != nil {
		return nil, x.end(err)
	}
	return &rows{pqRows: rs.(pqRows), watch: x}, nil
}

func (r *rows) Next(dest []driver.Value) error { return r.watch.meaning(r.pqRows.Next(dest)) }

func (r *rows) Close() error { return r.watch.end(r.pqRows.Close()) }
