package sqldb

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// NullTime scans the time that an expression such as MIN(due_at) gives. SQLite
// tells the type of a column, not of an expression, so a plain time.Time or
// sql.NullTime cannot take it there.
type NullTime struct{ sql.NullTime }

// Scan implements sql.Scanner.
func (n *NullTime) Scan(value any) error {
	switch v := value.(type) {
	case int64:
		n.NullTime = sql.NullTime{Time: time.UnixMicro(v).UTC(), Valid: true}
		return nil
	case nil, time.Time:
		return n.NullTime.Scan(v)
	default:
		return fmt.Errorf("scan a time from %T", value)
	}
}

// In expands each slice argument of a query written with ? marks into as many
// placeholders as it has items, and gives the query with $n placeholders for
// either engine. An empty slice is an error. Expanded queries vary: do not
// pass them to SQL.
func In(query string, args ...any) (string, []any, error) {
	query, args, err := sqlx.In(query, args...)
	if err != nil {
		return "", nil, fmt.Errorf("expand query: %w", err)
	}
	return sqlx.Rebind(sqlx.DOLLAR, query), args, nil
}
