package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"hirewire.dev/platform/sqldb"
)

// statements are prepared once, so that each use is one round trip.
type statements struct {
	all []*sql.Stmt

	// In transactions:
	takePositions, findKnown, getLocked, update, enqueue *sql.Stmt
	insertArrays, updateAtOnce                           *sql.Stmt // PostgreSQL only
	// Reads:
	get, firstUpdated                             *sql.Stmt
	list, listUpdated, listStatus, listUpdatedToo *sql.Stmt
}

const (
	sqlTakePositions = `UPDATE feed SET position = position + $1 RETURNING position`

	employeeColumns = `id, employee_number, given_name, family_name, email, job_title, department, hire_date,
		country, currency, status, version, created_at, updated_at`

	sqlGet       = `SELECT ` + employeeColumns + ` FROM employees WHERE id = $1`
	sqlGetLocked = sqlGet + ` FOR UPDATE`

	selectPage        = `SELECT position, ` + employeeColumns + ` FROM employees WHERE position > $1`
	pageEnd           = ` ORDER BY position LIMIT $2`
	sqlList           = selectPage + pageEnd
	sqlListUpdated    = selectPage + ` AND updated_at > $3` + pageEnd
	sqlListStatus     = selectPage + ` AND status = $3` + pageEnd
	sqlListUpdatedToo = selectPage + ` AND status = $3 AND updated_at > $4` + pageEnd
	sqlFirstUpdated   = `WITH recent AS MATERIALIZED (SELECT position FROM employees WHERE updated_at > $1 LIMIT $2)
		SELECT count(*), coalesce(min(position), 0) FROM recent`

	sqlSetEmployee = `employee_number = $2, given_name = $3, family_name = $4, email = $5, email_key = $6, job_title = $7,
		department = $8, hire_date = $9, country = $10, currency = $11, status = $12, version = $13, updated_at = $14`

	// An event that follows one that is still there must not be on its way before that one is gone.
	sqlLine = `EXISTS (SELECT 1 FROM outbox WHERE employee_id = $1 AND parked_at IS NULL)`

	sqlUpdate  = `UPDATE employees SET ` + sqlSetEmployee + `, position = $15 WHERE id = $1`
	sqlEnqueue = `INSERT INTO outbox (employee_id, position, event_id, body, created_at, lease, due_at)
		SELECT $1, $2, $3, $4, $5, CASE WHEN follows THEN 0 ELSE CAST($6 AS bigint) END,
			CASE WHEN follows THEN CAST($5 AS timestamptz) ELSE CAST($7 AS timestamptz) END
		FROM (SELECT ` + sqlLine + ` AS follows) AS line
		RETURNING lease`

	// All of it in one round trip, for PostgreSQL: the feed is held for that much less.
	sqlUpdateAtOnce = `WITH taken AS (UPDATE feed SET position = position + 1 RETURNING position),
		changed AS (UPDATE employees SET ` + sqlSetEmployee + `, position = taken.position FROM taken WHERE id = $1),
		line AS (SELECT ` + sqlLine + ` AS follows)
		INSERT INTO outbox (employee_id, position, event_id, body, created_at, lease, due_at)
		SELECT $1, taken.position, $15, $16, $14, CASE WHEN follows THEN 0 ELSE $17::bigint END,
			CASE WHEN follows THEN $14 ELSE $18::timestamptz END
		FROM taken, line RETURNING position, lease`
)

// prepare prepares everything. The SQLite text of row locks is the same without them.
func (st *statements) prepare(ctx context.Context, db *sqldb.DB) error {
	write := func(to **sql.Stmt, query string) error {
		stmt, err := db.PrepareContext(ctx, db.SQL(query))
		*to = stmt
		return st.keep(stmt, err)
	}
	read := func(to **sql.Stmt, query string) error {
		stmt, err := db.Reader().PrepareContext(ctx, query)
		*to = stmt
		return st.keep(stmt, err)
	}
	known := findKnownJSON
	if db.Engine == sqldb.PostgreSQL {
		known = findKnownArrays
		if err := errors.Join(write(&st.insertArrays, insertArrays), write(&st.updateAtOnce, sqlUpdateAtOnce)); err != nil {
			return err
		}
	}
	return errors.Join(
		write(&st.takePositions, sqlTakePositions),
		write(&st.findKnown, known),
		write(&st.getLocked, sqlGetLocked),
		write(&st.update, sqlUpdate),
		write(&st.enqueue, sqlEnqueue),
		read(&st.get, sqlGet),
		read(&st.firstUpdated, sqlFirstUpdated),
		read(&st.list, sqlList),
		read(&st.listUpdated, sqlListUpdated),
		read(&st.listStatus, sqlListStatus),
		read(&st.listUpdatedToo, sqlListUpdatedToo),
	)
}

func (st *statements) keep(stmt *sql.Stmt, err error) error {
	if err == nil {
		st.all = append(st.all, stmt)
	}
	return err
}

func (st *statements) close() error {
	var errs []error
	for _, stmt := range st.all {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(errs...)
}

// exec, query and queryRow run a statement as part of a transaction, whose end closes what they make of it.

func exec(ctx context.Context, tx *sqldb.Tx, stmt *sql.Stmt, args ...any) error {
	_, err := tx.StmtContext(ctx, stmt).ExecContext(ctx, args...) //nolint:sqlclosecheck // The transaction closes it.
	return err
}

func query(ctx context.Context, tx *sqldb.Tx, stmt *sql.Stmt, args ...any) (*sql.Rows, error) {
	return tx.StmtContext(ctx, stmt).QueryContext(ctx, args...) //nolint:sqlclosecheck // The transaction closes it.
}

func queryRow(ctx context.Context, tx *sqldb.Tx, stmt *sql.Stmt, args ...any) *sql.Row {
	return tx.StmtContext(ctx, stmt).QueryRowContext(ctx, args...) //nolint:sqlclosecheck // The transaction closes it.
}
