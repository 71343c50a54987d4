package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jmoiron/sqlx"
	sqlite3 "modernc.org/sqlite/lib"
)

// Tx is a transaction that InTx runs.
type Tx struct {
	*sqlx.Tx
	// Engine tells which engine the transaction runs on.
	Engine Engine

	db *DB
}

// SQL is DB.SQL.
func (tx *Tx) SQL(query string) string { return tx.db.SQL(query) }

const (
	txAttempts  = 8
	txFirstWait = 2 * time.Millisecond
	txMaxWait   = 250 * time.Millisecond
)

// InTx runs fn in a transaction and commits it when fn returns nil.
//
// Where the transaction loses a race (IsRetryable), or its connection before
// COMMIT was sent, it is rolled back and fn runs again, a bounded number of
// times with jittered waits. So fn must be repeatable: what it keeps outside
// the transaction it must set anew on each run. When fn fails or panics the
// transaction is rolled back and the error is returned as it is.
//
// A COMMIT whose outcome is unknown is an *AmbiguousError: read your key back.
// After any other error nothing is committed.
func (db *DB) InTx(ctx context.Context, fn func(tx *Tx) error) error {
	started := time.Now()
	wait := txFirstWait
	for attempt := 1; ; attempt++ {
		repeat, err := db.once(ctx, fn)
		if err == nil || !repeat || attempt == txAttempts || time.Since(started) > db.retryFor {
			return err
		}
		timer := time.NewTimer(wait/2 + rand.N(wait)) //nolint:gosec // jitter
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-timer.C:
		}
		wait = min(2*wait, txMaxWait)
	}
}

// once runs fn in one transaction; repeat says that nothing is committed and
// that another try may succeed.
func (db *DB) once(ctx context.Context, fn func(tx *Tx) error) (repeat bool, err error) {
	base, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return IsRetryable(err), fmt.Errorf("begin: %w", err)
	}
	ended := false
	defer func() {
		if !ended {
			_ = base.Rollback() // fn's error says more; a lost rollback happens by itself
		}
	}()
	if err := fn(&Tx{Tx: base, Engine: db.Engine, db: db}); err != nil {
		_, lost := errors.AsType[*lostError](err)
		return ctx.Err() == nil && (lost || IsRetryable(err)), err
	}
	ended = true
	if err := base.Commit(); err != nil {
		if db.Engine == SQLite && sqliteCode(err)&0xff == sqlite3.SQLITE_IOERR {
			// The frames may be in the log and come back after a crash.
			err = &AmbiguousError{Err: err}
		}
		if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil { // ctx ended first, and database/sql has rolled back
			err = ctx.Err()
		}
		ambiguous := errors.Is(err, ErrAmbiguous)
		return !ambiguous && ctx.Err() == nil && (IsRetryable(err) || isConnLost(err)), fmt.Errorf("commit: %w", err)
	}
	return false, nil
}
