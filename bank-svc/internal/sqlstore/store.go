// Package sqlstore keeps a bank's accounts, reconciliations and identity in SQLite or PostgreSQL.
package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"time"

	"github.com/lib/pq"

	"hirewire.dev/bank-svc/internal/iban"
	"hirewire.dev/platform/sqldb"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is one bank's database. It is safe for concurrent use, also by several processes.
type Store struct {
	db     *sqldb.DB
	issuer *iban.Issuer
}

// New makes the store; the tables must be there: see Migrate.
func New(db *sqldb.DB, issuer *iban.Issuer) *Store { return &Store{db: db, issuer: issuer} }

// Migrate brings the bank's tables up to date.
func Migrate(ctx context.Context, db *sqldb.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return db.Migrate(ctx, "bank", files)
}

// querier is a transaction or a pool.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// list passes texts as one parameter, which inList reads.
func (s *Store) list(items []string) any {
	if s.db.Engine == sqldb.PostgreSQL {
		return pq.Array(items)
	}
	b, err := json.Marshal(items)
	if err != nil { // texts always marshal
		return nil
	}
	return string(b)
}

// inList is the list in a parameter as a subquery with one column, item.
func (s *Store) inList(parameter string) string {
	if s.db.Engine == sqldb.PostgreSQL {
		return "(SELECT unnest(" + parameter + "::text[]) AS item)"
	}
	return "(SELECT value AS item FROM json_each(" + parameter + "))"
}

// now is the present as the database keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
