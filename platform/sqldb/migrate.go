package sqldb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// Migrations are ours, about a hundred lines, because a library would have to
// be taught both engines from one text, the lock before its own first CREATE
// TABLE, and that an older binary keeps working on a newer schema.

type migration struct {
	version  int64
	name     string
	text     string
	checksum string
}

// migrationLock is the key of the advisory lock that migrations of one
// PostgreSQL database take; any constant does.
const migrationLock = 0x68697265

// Migrate brings one set of tables up to date. The files of a set are at the
// root of files, "0001_name.sql", "0002_name.sql" and so on. Each that has not
// run yet runs in a transaction of its own, together with the note that it
// has, under a lock that keeps other processes out: it is safe to be killed at
// any point and to be run by all replicas at once.
//
// The text is PostgreSQL's dialect; for SQLite timestamptz becomes timestamp
// and bytea blob, and the lines after "-- postgres:" or "-- sqlite:" run on
// that engine only, up to the next such line or "-- all:".
//
// Sets do not know of each other: a service runs its own and those of the
// libraries that it embeds. A file that has changed after it ran is an error.
// One migration more than the files have is fine, so a binary works on during
// the rollout of its successor; more than one is an error.
func (db *DB) Migrate(ctx context.Context, set string, files fs.FS) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("migrate %s: %w", set, err)
		}
	}()
	all, err := readMigrations(files)
	if err != nil {
		return err
	}
	pool, err := db.openMigration()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	if err := db.prepareSet(ctx, pool, set, all); err != nil {
		return err
	}
	for _, m := range all {
		if err := db.apply(ctx, pool, set, m); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// locked runs fn in a transaction that no other migration runs beside. SQLite
// takes its write lock at BEGIN; on PostgreSQL the lock must come before
// CREATE TABLE IF NOT EXISTS, which races with itself.
func (db *DB) locked(ctx context.Context, pool *sqlx.DB, fn func(tx *sqlx.Tx) error) error {
	tx, err := pool.BeginTxx(ctx, nil)
	for IsRetryable(err) && ctx.Err() == nil { // another process migrates; each try waits a while
		tx, err = pool.BeginTxx(ctx, nil)
	}
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if db.Engine == PostgreSQL {
		if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, migrationLock); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
	}
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (db *DB) prepareSet(ctx context.Context, pool *sqlx.DB, set string, all []migration) error {
	return db.locked(ctx, pool, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, ddl(db.Engine, `CREATE TABLE IF NOT EXISTS schema_migrations (
			set_name   text        NOT NULL,
			version    bigint      NOT NULL,
			name       text        NOT NULL,
			checksum   text        NOT NULL,
			applied_at timestamptz NOT NULL,
			PRIMARY KEY (set_name, version))`)); err != nil {
			return err
		}
		var newest int64
		if err := tx.GetContext(ctx, &newest,
			`SELECT COALESCE(MAX(version), 0) FROM schema_migrations WHERE set_name = $1`, set); err != nil {
			return err
		}
		if newest > int64(len(all))+1 {
			return fmt.Errorf("the schema is at version %d, this binary knows %d and works up to %d",
				newest, len(all), len(all)+1)
		}
		return nil
	})
}

func (db *DB) apply(ctx context.Context, pool *sqlx.DB, set string, m migration) error {
	return db.locked(ctx, pool, func(tx *sqlx.Tx) error {
		var have []string
		if err := tx.SelectContext(ctx, &have,
			`SELECT checksum FROM schema_migrations WHERE set_name = $1 AND version = $2`, set, m.version); err != nil {
			return err
		}
		if len(have) > 0 {
			if have[0] != m.checksum {
				return errors.New("has changed since it ran")
			}
			return nil
		}
		if _, err := tx.ExecContext(ctx, ddl(db.Engine, m.text)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx,
			`INSERT INTO schema_migrations (set_name, version, name, checksum, applied_at) VALUES ($1, $2, $3, $4, $5)`,
			set, m.version, m.name, m.checksum, time.Now().UTC().Truncate(time.Microsecond))
		return err
	})
}

func readMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("no files like 0001_name.sql")
	}
	var all []migration
	for i, name := range names {
		version, _, ok := strings.Cut(name, "_")
		n := int64(i) + 1
		if !ok || version != fmt.Sprintf("%04d", n) {
			return nil, fmt.Errorf("%s: the name must start with %04d_", name, i+1)
		}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		text := strings.ReplaceAll(string(b), "\r\n", "\n") // whatever a checkout made of it
		sum := sha256.Sum256([]byte(text))
		all = append(all, migration{n, name, text, hex.EncodeToString(sum[:])})
	}
	return all, nil
}
