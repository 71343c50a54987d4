package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
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

// InTx runs fn in a transaction and commits it when fn returns nil. Where the
// transaction loses a race (IsRetryable) InTx rolls it back and runs fn again,
// a bounded number of times with jittered waits, so fn must be repeatable:
// whatever it keeps outside the transaction it must set anew on each run.
//
// A commit whose outcome is unknown returns *AmbiguousError: read your key back.
func (db *DB) InTx(ctx context.Context, fn func(tx *Tx) error) error {
	wait := txFirstWait
	for attempt := 1; ; attempt++ {
		err := db.once(ctx, fn)
		if err == nil || !IsRetryable(err) || attempt == txAttempts {
			return err
		}
		timer := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), err)
		case <-timer.C:
		}
		wait = min(2*wait, txMaxWait)
	}
}

func (db *DB) once(ctx context.Context, fn func(tx *Tx) error) (err error) {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	done := false
	defer func() {
		if !done {
			_ = tx.Rollback()
		}
	}()
	if err := fn(&Tx{Tx: tx, Engine: db.Engine, db: db}); err != nil {
		return err
	}
	done = true
	if err := tx.Commit(); err != nil {
		if db.Engine == PostgreSQL && isAmbiguous(err) {
			return &AmbiguousError{Err: err}
		}
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func isAmbiguous(err error) bool {
	if _, ok := errors.AsType[*pq.Error](err); ok {
		return false
	}
	return errors.Is(err, driver.ErrBadConn) || isConnLost(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
