package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/platform/sqldb"
)

type requestRow struct {
	Actor     string    `db:"actor"`
	ID        string    `db:"id"`
	Content   []byte    `db:"content"`
	Resource  string    `db:"resource"`
	SealKey   string    `db:"seal_key"`
	Sealed    []byte    `db:"sealed"`
	CreatedAt time.Time `db:"created_at"`
}

// putRequest notes a request, or answers with what it was the first time. Callers hold the feed's row, so of two at once one
// is the first.
func putRequest(ctx context.Context, tx *sqldb.Tx, r access.Request) (before *access.Request, err error) {
	if r.ID == "" {
		return nil, nil
	}
	var row requestRow
	err = tx.GetContext(ctx, &row, `SELECT actor, id, content, resource, seal_key, sealed, created_at FROM requests
		WHERE actor = $1 AND id = $2`, r.Actor, r.ID)
	if err == nil {
		was := rowToRequest(row)
		return &was, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("look up request: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO requests (actor, id, content, resource, seal_key, sealed, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, r.Actor, r.ID, r.Content[:], r.Resource, r.SealKey, r.Sealed, r.At); err != nil {
		return nil, fmt.Errorf("put request: %w", err)
	}
	return nil, nil
}

func rowToRequest(row requestRow) access.Request {
	r := access.Request{
		Actor: row.Actor, ID: row.ID, Resource: row.Resource, SealKey: row.SealKey, Sealed: row.Sealed, At: row.CreatedAt.UTC(),
	}
	if len(row.Content) == sha256.Size {
		r.Content = [sha256.Size]byte(row.Content)
	}
	return r
}
