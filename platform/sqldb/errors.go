package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrAmbiguous marks a write whose outcome is unknown: it may have committed.
var ErrAmbiguous = errors.New("outcome unknown")

// AmbiguousError reports a commit whose reply was lost. Read the keys of the
// write back to learn whether it happened; never just repeat it.
type AmbiguousError struct{ Err error }

// Error says that the outcome is unknown, and why.
func (e *AmbiguousError) Error() string { return "commit: outcome unknown: " + e.Err.Error() }

// Unwrap gives ErrAmbiguous and the cause.
func (e *AmbiguousError) Unwrap() []error { return []error{ErrAmbiguous, e.Err} }

// IsUnique reports whether err is a violated unique or primary key, and which:
// the constraint's name on PostgreSQL, "table.column[, table.column]" on SQLite.
func IsUnique(err error) (constraint string, ok bool) {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		return e.Constraint, e.Code == "23505"
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
			return sqliteConstraint(e.Error()), true
		}
	}
	return "", false
}

// sqliteConstraint cuts the columns out of SQLite's message, the only place
// where it names them. The class of the error never depends on this text.
func sqliteConstraint(msg string) string {
	_, cols, ok := strings.Cut(msg, "constraint failed: ")
	for ok {
		msg = cols
		_, cols, ok = strings.Cut(msg, "constraint failed: ")
	}
	if i := strings.LastIndex(msg, " ("); i >= 0 {
		msg = msg[:i]
	}
	return msg
}

// IsUnavailable reports whether the database could not be reached, refused
// the connection, is going down, or has become read-only (a failover): the
// same call may succeed later.
func IsUnavailable(err error) bool {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		switch e.Code {
		case "25006", // read_only_sql_transaction
			"53300": // too_many_connections
			return true
		}
		switch e.Code.Class() {
		case "08", "57":
			return e.Code != "57014"
		}
		return false
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
			return true
		}
		return false
	}
	return isConnLost(err)
}

func isConnLost(err error) bool {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return true
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	_, ok := errors.AsType[net.Error](err)
	return ok
}

// IsFull reports whether the disk, or the space given to the database, is full.
func IsFull(err error) bool {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		return e.Code == "53100"
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()&0xff == sqlite3.SQLITE_FULL
	}
	return false
}

// IsRetryable reports whether the transaction lost a race (serialization,
// deadlock, busy, lock timeout) and was rolled back: run it again from the start.
func IsRetryable(err error) bool {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		switch e.Code {
		case "40001", "40P01", "55P03":
			return true
		}
		return false
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return true
		}
	}
	return false
}
