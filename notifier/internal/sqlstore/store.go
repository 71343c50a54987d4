// Package sqlstore keeps everything that the notifier must remember, on SQLite or PostgreSQL.
package sqlstore

import (
	"context"
	"embed"
	"io/fs"
	"sync"

	"hirewire.dev/platform/sqldb"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is the notifier's database. Its methods are in files by what they are for.
type Store struct {
	db    *sqldb.DB
	clock clock
	// hot holds the connections of the hot path (PostgreSQL).
	hotMu sync.Mutex
}

// New makes a store on an open database; see Migrate.
func New(db *sqldb.DB) *Store { return &Store{db: db} }

// DB is the database itself.
func (s *Store) DB() *sqldb.DB { return s.db }

// Migrate brings the tables up to date and makes the partitions of the next days. It may run again, and at the same time
// in several processes.
func (s *Store) Migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return s.db.Migrate(ctx, "notifier", files)
}
