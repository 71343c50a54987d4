package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/ingest"
	"hirewire.dev/platform/sqldb"
)

var _ ingest.Store = (*Store)(nil)

// Publish implements ingest.Store.
//
// On PostgreSQL a batch of nothing but new events is one statement. Whatever else there is in it (an event that is known,
// an earlier try that may have been stored, another replica that stores at the same moment) is left to the transaction
// that runs on both engines, which looks before it writes.
func (s *Store) Publish(ctx context.Context, b *ingest.Batch) (stored bool, err error) {
	if s.db.Engine == sqldb.PostgreSQL && !s.generic && !b.Retried && len(b.Deliveries) <= maxStatementRows {
		stored, err = s.publishAtOnce(ctx, b)
		if _, known := sqldb.IsUnique(err); !known && !sqldb.IsRetryable(err) {
			return stored, wrap("publish", err)
		}
	}
	stored, err = s.publishInTx(ctx, b)
	return stored, wrap("publish", err)
}

// wrap names the operation, and marks what the database will never take.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	if refused(err) {
		return fmt.Errorf("%s: %w: %w", op, delivery.ErrRefused, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

// refused reports errors that are in what was given: PostgreSQL's classes of data exceptions, violated constraints and
// exceeded limits, SQLite's constraints, types and sizes.
func refused(err error) bool {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		switch e.Code.Class() {
		case "22", "23", "54":
			return true
		}
		return false
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
			return true
		}
	}
	return false
}

var errStale = errors.New("the subscriptions have changed")
