// Package sqlstore keeps a bank's accounts, reconciliations and identity in SQLite or PostgreSQL.
package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/lib/pq"

	"hirewire.dev/bank-svc/internal/iban"
	"hirewire.dev/platform/sqldb"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is one bank's database. It is safe for concurrent use, also by several processes.
type Store struct {
	db       *sqldb.DB
	issuer   *iban.Issuer
	serials  serials
	prepared sync.Map // query → *sql.Stmt, for as long as the database is open
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

// preparer is a transaction that can run a statement prepared outside of it.
type preparer interface {
	StmtContext(ctx context.Context, stmt *sql.Stmt) *sql.Stmt
}

// hot runs a query of the path that every event takes. On PostgreSQL it is prepared once for each connection, which saves a
// round trip and the planning, if prepare has been called for it: a transaction that wanted another connection to prepare
// with could wait for ever for one.
func (s *Store) hot(ctx context.Context, q querier, query string, args ...any) (*sql.Rows, error) {
	if tx, ok := q.(preparer); ok {
		if stmt, ok := s.prepared.Load(query); ok {
			return tx.StmtContext(ctx, stmt.(*sql.Stmt)).QueryContext(ctx, args...) //nolint:forcetypeassert,sqlclosecheck // Nothing else is stored; the transaction closes its statements.
		}
	}
	return q.QueryContext(ctx, query, args...)
}

// prepare gets a query ready for hot; not within a transaction.
func (s *Store) prepare(ctx context.Context, query string) error {
	if _, ok := s.prepared.Load(query); ok {
		return nil
	}
	stmt, err := s.db.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	if _, ok := s.prepared.LoadOrStore(query, stmt); ok {
		return stmt.Close() //nolint:sqlclosecheck // Somebody else was first; the other one stays open with the database.
	}
	return nil
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
