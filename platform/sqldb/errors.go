package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"strings"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrAmbiguous marks a write whose outcome is unknown: it may have committed.
var ErrAmbiguous = errors.New("outcome unknown")

// AmbiguousError reports a commit, or a statement outside a transaction, that
// was sent and whose reply was lost. Read the keys of the write back to learn
// whether it happened; never just repeat it, unless running it twice does no
// harm. IsUnavailable holds for it too.
type AmbiguousError struct{ Err error }

// Error says that the outcome is unknown, and why.
func (e *AmbiguousError) Error() string { return "outcome unknown: " + e.Err.Error() }

// Unwrap gives ErrAmbiguous and the cause.
func (e *AmbiguousError) Unwrap() []error { return []error{ErrAmbiguous, e.Err} }

// IsUnique reports whether err is a violated unique or primary key, and which:
// the name of the constraint or index on PostgreSQL, "table.column[,
// table.column]" on SQLite, or "index 'name'" there for an index over expressions.
func IsUnique(err error) (constraint string, ok bool) {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		if e.Code == pqerror.UniqueViolation {
			return e.Constraint, true
		}
		return "", false
	}
	switch code := sqliteCode(err); code {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return sqliteConstraint(err), true
	}
	return "", false
}

// sqliteConstraint cuts the columns out of SQLite's message, the only place
// where it names them. The class of the error never depends on this text.
func sqliteConstraint(err error) string {
	e, _ := errors.AsType[*sqlite.Error](err)
	msg := e.Error()
	if i := strings.LastIndex(msg, "constraint failed: "); i >= 0 {
		msg = msg[i+len("constraint failed: "):]
	}
	if i := strings.LastIndex(msg, " ("); i >= 0 {
		msg = msg[:i]
	}
	return msg
}

// IsUnavailable reports whether the database could not be reached, refused
// the connection, was lost, is going down, takes no writes (a failover), took
// longer than its statement timeout, or failed to read or write its file: the
// same call may succeed later. A done context by itself is not this.
func IsUnavailable(err error) bool {
	if errors.Is(err, errReadOnly) {
		return true
	}
	if e, ok := errors.AsType[*pq.Error](err); ok {
		switch e.Code {
		case pqerror.ReadOnlySQLTransaction, pqerror.TooManyConnections:
			return true
		case pqerror.QueryCanceled: // by the context, or else by statement_timeout
			return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
		}
		switch e.Code.Class() {
		case pqerror.ClassConnectionException, pqerror.ClassOperatorIntervention, pqerror.ClassSystemError:
			return true
		}
		return false
	}
	switch sqliteCode(err) & 0xff {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return true
	}
	return isConnLost(err)
}

// isConnLost reports whether the connection failed, whatever was sent on it.
func isConnLost(err error) bool {
	for _, lost := range []error{
		driver.ErrBadConn, sql.ErrConnDone, errConnLost,
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.ErrDeadlineExceeded,
	} {
		if errors.Is(err, lost) {
			return true
		}
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}

// IsFull reports whether the disk, or the space given to the database, is full.
func IsFull(err error) bool {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		return e.Code == pqerror.DiskFull
	}
	return sqliteCode(err)&0xff == sqlite3.SQLITE_FULL
}

// IsRetryable reports whether the transaction lost a race (serialization,
// deadlock, busy, lock timeout) and was rolled back: run it again from the
// start. InTx has already done so when it returns such an error.
func IsRetryable(err error) bool {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		switch e.Code {
		case pqerror.TRSerializationFailure, pqerror.TRDeadlockDetected, pqerror.LockNotAvailable:
			return true
		}
		return false
	}
	switch sqliteCode(err) & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return true
	}
	return false
}

// sqliteCode is SQLite's extended result code; 0 for other errors.
func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}
