// Package sqldb opens a service's database on SQLite or PostgreSQL and gives
// both the same behaviour: the same SQL text, times, transactions, migrations
// and error classes.
package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

// Engine names a database engine.
type Engine string

// The engines.
const (
	SQLite     Engine = "sqlite"
	PostgreSQL Engine = "postgres"
)

// DB is an open database. The embedded pool is the writer: on SQLite it has
// one connection, whose transactions take the write lock at BEGIN.
type DB struct {
	*sqlx.DB
	// Engine tells which engine the database runs on.
	Engine Engine

	reader   *sqlx.DB
	rewrites sync.Map // query as written → query as this engine runs it
	// openMigration opens a pool of one connection without the limits on the
	// length of a statement that the working pool has.
	openMigration func() (*sqlx.DB, error)
	source        *postgresSource // nil on SQLite
	retryFor      time.Duration   // bounds InTx's retries
}

// Option changes how Open sets a database up.
type Option func(*options)

type options struct {
	maxConns         int
	statementTimeout time.Duration
	lockTimeout      time.Duration
	applicationName  string
	await            *slog.Logger
}

// MaxOpenConns bounds the connection pool (the reading one on SQLite).
// The default is 16 on PostgreSQL and 4 on SQLite.
func MaxOpenConns(n int) Option { return func(o *options) { o.maxConns = n } }

// StatementTimeout bounds each statement on the PostgreSQL server. The
// default is 30 s. A statement_timeout in the URL wins.
func StatementTimeout(d time.Duration) Option {
	return func(o *options) { o.statementTimeout = d }
}

// LockTimeout bounds each wait for a lock on PostgreSQL, and the wait of a
// transaction for the write lock of another process on SQLite, to about the
// double. The default is 5 s. A lock_timeout in the URL wins.
func LockTimeout(d time.Duration) Option { return func(o *options) { o.lockTimeout = d } }

// ApplicationName is what PostgreSQL shows in pg_stat_activity. An
// application_name in the URL wins.
func ApplicationName(name string) Option { return func(o *options) { o.applicationName = name } }

// Await makes Open wait, for half a minute at most, for a PostgreSQL that is
// still starting, and say so in log.
func Await(log *slog.Logger) Option { return func(o *options) { o.await = log } }

const (
	awaitLimit = 30 * time.Second
	awaitPause = 500 * time.Millisecond
)

// Open opens the database at url: "sqlite:PATH", whose folder is created when
// absent, or "postgres://…". It connects once before it returns; an error for
// which IsUnavailable holds may pass by itself. The error never contains the
// password of the URL.
func Open(ctx context.Context, url string, opts ...Option) (*DB, error) {
	o := options{
		statementTimeout: 30 * time.Second,
		lockTimeout:      5 * time.Second,
		applicationName:  "hirewire",
	}
	for _, opt := range opts {
		opt(&o)
	}
	deadline := time.Now().Add(awaitLimit)
	for {
		db, err := open(ctx, url, o)
		if o.await == nil || strings.HasPrefix(url, sqlitePrefix) || !IsUnavailable(err) || time.Now().After(deadline) {
			return db, err
		}
		o.await.WarnContext(ctx, "waiting for the database", "error", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(awaitPause):
		}
	}
}

const sqlitePrefix = "sqlite:"

func open(ctx context.Context, url string, o options) (db *DB, err error) {
	switch {
	case strings.HasPrefix(url, sqlitePrefix):
		db, err = openSQLite(strings.TrimPrefix(url, sqlitePrefix), o)
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		db, err = openPostgres(url, o)
	default:
		return nil, errors.New(`open database: the URL must start with "sqlite:" or "postgres://"`)
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db.retryFor = 2 * o.lockTimeout
	if err := db.reader.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), db.Close())
	}
	return db, nil
}

// Reader is the pool for reads that need not see this process's uncommitted
// writes: on SQLite a small read-only pool on the same file, which never waits
// for the writer; on PostgreSQL the one pool.
func (db *DB) Reader() *sqlx.DB { return db.reader }

// Ready reports whether the database answers now and, on PostgreSQL, takes
// writes. Give it a deadline.
func (db *DB) Ready(ctx context.Context) error {
	if err := db.ready(ctx); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

func (db *DB) ready(ctx context.Context) error {
	if db.Engine == SQLite {
		var one int
		return db.reader.QueryRowContext(ctx, `SELECT 1`).Scan(&one)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var readOnly string
	err = conn.QueryRowContext(ctx, `SELECT current_setting('transaction_read_only')`).Scan(&readOnly)
	if err != nil || readOnly != "on" {
		return err
	}
	// Not back into the pool: the next connection may reach the new primary.
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	return errReadOnly
}

// Close closes all connections and waits for the statements under way.
func (db *DB) Close() error {
	if db.reader == db.DB {
		return db.DB.Close()
	}
	return errors.Join(db.reader.Close(), db.DB.Close())
}
