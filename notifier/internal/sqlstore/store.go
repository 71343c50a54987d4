// Package sqlstore keeps everything that the notifier must remember, on SQLite or PostgreSQL.
package sqlstore

import (
	"context"
	"embed"
	"io/fs"
	"math/rand/v2"
	"sync"

	"github.com/jmoiron/sqlx"

	"hirewire.dev/platform/sqldb"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is the notifier's database. Its methods are in files by what they are for.
type Store struct {
	db    *sqldb.DB
	clock clock
	// shard is which rows of the balances this process counts in.
	shard int64
	// generic makes PostgreSQL run the statements that are made for both engines only: the tests compare.
	generic bool

	stmts sync.Map // query → *sqlx.Stmt (SQLite)
	// PostgreSQL: each kind of statement has a connection, and what it fills its parameters into.
	publishes, claims, finishes session
	publishArgs                 publishArgs
	claimArgs                   claimArgs
	finishArgs                  finishArgs
}

// New makes a store on an open database; see Migrate.
func New(db *sqldb.DB) *Store {
	return &Store{db: db, shard: rand.Int64N(shards)} //nolint:gosec // it spreads load, and need not be secret
}

// Close ends what the store holds open in the database, which stays open itself.
func (s *Store) Close() error {
	s.publishes.close()
	s.claims.close()
	s.finishes.close()
	s.stmts.Range(func(_, st any) bool {
		_ = st.(*sqlx.Stmt).Close() // nothing else is in there
		return true
	})
	s.stmts.Clear()
	return nil
}

// Migrate brings the tables up to date, and reads the database's clock. It may run again, and at the same time in several
// processes.
func (s *Store) Migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if err := s.db.Migrate(ctx, "notifier", files); err != nil {
		return err
	}
	return s.syncClock(ctx)
}
