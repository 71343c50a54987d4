package sqldb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
)

type migration struct {
	version  int
	name     string
	text     string
	checksum string
}

// Migrate brings the tables of one set up to date: it runs each file
// "0001_name.sql" at the root of files that has not run yet, in order, each in
// a transaction of its own. Sets are independent of each other; a service
// runs its own and those of libraries it embeds.
func (db *DB) Migrate(ctx context.Context, set string, files fs.FS) (err error) {
	all, err := readMigrations(files)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", set, err)
	}
	pool, err := db.openMigration()
	if err != nil {
		return fmt.Errorf("migrate %s: %w", set, err)
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	if err := db.migrate(ctx, pool, set, all); err != nil {
		return fmt.Errorf("migrate %s: %w", set, err)
	}
	return nil
}

func (db *DB) migrate(ctx context.Context, pool *sqlx.DB, set string, all []migration) error {
	conn, err := pool.Connx(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if db.Engine == PostgreSQL {
		// The lock belongs to the session: it ends with this connection.
		h := fnv.New32a()
		_, _ = h.Write([]byte("hirewire.migrate"))
		if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock(hashtext(current_schema()), $1)`, int32(h.Sum32())); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
	}
	for i := 0; ; i++ {
		more, err := db.step(ctx, conn, set, all, i)
		if err != nil || !more {
			return err
		}
	}
}

// step runs, in one transaction, what must come before the file at i and that file.
func (db *DB) step(ctx context.Context, conn *sqlx.Conn, set string, all []migration, i int) (more bool, err error) {
	tx, err := conn.BeginTxx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }()
	if i == 0 {
		if _, err := tx.ExecContext(ctx, ddl(db.Engine, `CREATE TABLE IF NOT EXISTS schema_migrations (
			set_name text NOT NULL, version bigint NOT NULL, name text NOT NULL,
			checksum text NOT NULL, applied_at timestamptz NOT NULL, PRIMARY KEY (set_name, version))`)); err != nil {
			return false, err
		}
	}
	if i >= len(all) {
		return false, tx.Commit()
	}
	m := all[i]
	var have []string
	if err := tx.SelectContext(ctx, &have, `SELECT checksum FROM schema_migrations WHERE set_name = $1 AND version = $2`, set, m.version); err != nil {
		return false, err
	}
	if len(have) > 0 {
		if have[0] != m.checksum {
			return false, fmt.Errorf("%s has changed since it ran", m.name)
		}
		return true, tx.Commit()
	}
	if _, err := tx.ExecContext(ctx, ddl(db.Engine, m.text)); err != nil {
		return false, fmt.Errorf("%s: %w", m.name, err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO schema_migrations (set_name, version, name, checksum, applied_at) VALUES ($1, $2, $3, $4, $5)`,
		set, m.version, m.name, m.checksum, time.Now().UTC().Truncate(time.Microsecond)); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

func readMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	var all []migration
	for i, name := range names {
		if len(name) < 6 || name[4] != '_' {
			return nil, fmt.Errorf("%s: the name must be like 0001_name.sql", name)
		}
		version, err := strconv.Atoi(name[:4])
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("%s: expected version %04d", name, i+1)
		}
		text, err := fs.ReadFile(files, path.Clean(name))
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		all = append(all, migration{version, name, string(text), hex.EncodeToString(sum[:])})
	}
	return all, nil
}
