package inbox

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
)

// What Accept, List and their like fail with.
var (
	// ErrFull: more arrivals wait for their commit than the limits allow.
	ErrFull = errors.New("inbox is full")
	// ErrClosed: Run has ended or is about to.
	ErrClosed = errors.New("inbox is closed")
	// ErrNotFound: no message has this id.
	ErrNotFound = errors.New("no such message")
	// ErrBadCursor: the cursor did not come from List.
	ErrBadCursor = errors.New("bad cursor")

	// errFenced: another holder has the row, or an earlier event of its key is
	// not done; what was worked out for it must not count.
	errFenced = errors.New("the lease is lost")
)

// sqlState is the SQLSTATE of PostgreSQL's drivers, which all have this method.
func sqlState(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

// The result codes of SQLite that matter here.
const (
	sqliteBusy       = 5
	sqliteLocked     = 6
	sqliteReadonly   = 8
	sqliteIOErr      = 10
	sqliteFull       = 13
	sqliteCantOpen   = 14
	sqliteTooBig     = 18
	sqliteConstraint = 19
	sqliteMismatch   = 20
)

// sqliteCode is the primary result code of modernc.org/sqlite's errors.
func sqliteCode(err error) int {
	var e interface{ Code() int }
	if sqlState(err) == "" && errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// queryCanceled is PostgreSQL's SQLSTATE for a statement that took longer than
// statement_timeout or its context.
const queryCanceled = "57014"

// lostRace reports whether a transaction was rolled back only because of
// another one, so that it may be repeated at once.
func lostRace(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01", "55P03": // serialization failure, deadlock, lock not available
		return true
	}
	code := sqliteCode(err)
	return code == sqliteBusy || code == sqliteLocked
}

// swallowed reports whether a transaction had failed or ended before.
func swallowed(err error) bool {
	return sqlState(err) == "25P02" || errors.Is(err, sql.ErrTxDone)
}

// notAble reports whether the database could not do what it will be able to do
// again: its disk is full or fails, it lacks memory or connections, it is read
// only or told to stop. No event is to blame for that.
func notAble(err error) bool {
	state := sqlState(err)
	if strings.HasPrefix(state, "53") || strings.HasPrefix(state, "57") || strings.HasPrefix(state, "58") || state == "25006" {
		return true
	}
	switch sqliteCode(err) {
	case sqliteReadonly, sqliteIOErr, sqliteFull, sqliteCantOpen:
		return true
	}
	return false
}

// badRow reports whether the database took exception to the data itself.
func badRow(err error) bool {
	state := sqlState(err)
	if strings.HasPrefix(state, "22") || strings.HasPrefix(state, "23") || state == "54000" {
		return true
	}
	switch sqliteCode(err) {
	case sqliteTooBig, sqliteConstraint, sqliteMismatch:
		return true
	}
	return false
}

// connectionGone reports whether a transaction has lost its connection. The
// statement to ask with is refused by a transaction that has merely failed, and
// that refusal has a code.
func connectionGone(err error) bool {
	if err == nil || swallowed(err) {
		return false
	}
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	state := sqlState(err)
	if state == "" {
		return sqliteCode(err) == 0
	}
	return strings.HasPrefix(state, "08") || strings.HasPrefix(state, "57")
}
