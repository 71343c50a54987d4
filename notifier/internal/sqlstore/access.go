package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/platform/sqldb"
)

var _ access.Store = (*Store)(nil)

type apiKeyRow struct {
	ID        string       `db:"id"`
	Name      string       `db:"name"`
	Role      string       `db:"role"`
	Hash      []byte       `db:"hash"`
	Changed   int64        `db:"changed"`
	CreatedAt time.Time    `db:"created_at"`
	RevokedAt sql.NullTime `db:"revoked_at"`
}

const apiKeyColumns = `id, name, role, hash, changed, created_at, revoked_at` //nolint:gosec // column names

func rowToAPIKey(row apiKeyRow) access.Key {
	k := access.Key{ID: row.ID, Name: row.Name, Role: access.Role(row.Role), CreatedAt: row.CreatedAt.UTC(), RevokedAt: utc(row.RevokedAt)}
	copy(k.Hash[:], row.Hash)
	return k
}

// CreateKey implements access.Store.
func (s *Store) CreateKey(ctx context.Context, k access.Key, r access.Request, e audit.Entry) (before *access.Request, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		before = nil
		change, err := newChange(ctx, tx)
		if err != nil {
			return err
		}
		if before, err = putRequest(ctx, tx, r); err != nil {
			return err
		}
		if before != nil {
			return errNothingChanged
		}
		if _, err := tx.NamedExecContext(ctx, `INSERT INTO api_keys (`+apiKeyColumns+`) VALUES (`+named(apiKeyColumns)+`)`, apiKeyRow{
			ID: k.ID, Name: k.Name, Role: string(k.Role), Hash: k.Hash[:], Changed: change, CreatedAt: k.CreatedAt,
		}); err != nil {
			return keyError(err)
		}
		return putAudit(ctx, tx, e)
	})
	return before, changeError(err)
}

func keyError(err error) error {
	c, ok := sqldb.IsUnique(err)
	switch {
	case !ok:
		return err
	case c == "api_keys_name", strings.Contains(c, "api_keys.name"):
		return access.ErrNameTaken
	case c == "api_keys_hash", strings.Contains(c, "api_keys.hash"):
		return access.ErrSecretTaken
	}
	return err
}

// Key implements access.Store.
func (s *Store) Key(ctx context.Context, id string) (access.Key, error) {
	return apiKey(ctx, s.db.Reader(), id)
}

func apiKey(ctx context.Context, q queryer, id string) (access.Key, error) {
	var row apiKeyRow
	err := q.GetContext(ctx, &row, `SELECT `+apiKeyColumns+` FROM api_keys WHERE id = $1`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return access.Key{}, access.ErrNotFound
	}
	if err != nil {
		return access.Key{}, fmt.Errorf("read API key: %w", err)
	}
	return rowToAPIKey(row), nil
}

// Keys implements access.Store.
func (s *Store) Keys(ctx context.Context, after string, limit int) ([]access.Key, error) {
	var rows []apiKeyRow
	if err := s.db.Reader().SelectContext(ctx, &rows, `SELECT `+apiKeyColumns+` FROM api_keys WHERE id > $1 ORDER BY id LIMIT $2`, after, limit); err != nil {
		return nil, err
	}
	return rowsToAPIKeys(rows), nil
}

func rowsToAPIKeys(rows []apiKeyRow) []access.Key {
	keys := make([]access.Key, len(rows))
	for i, row := range rows {
		keys[i] = rowToAPIKey(row)
	}
	return keys
}

// RevokeKey implements access.Store.
func (s *Store) RevokeKey(ctx context.Context, id string, at time.Time, describe func(access.Key) audit.Entry) (k access.Key, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		change, err := newChange(ctx, tx)
		if err != nil {
			return err
		}
		if k, err = apiKey(ctx, tx, id); err != nil {
			return err
		}
		if !k.RevokedAt.IsZero() {
			return errNothingChanged
		}
		entry := describe(k)
		k.RevokedAt = at
		if _, err := tx.ExecContext(ctx, `UPDATE api_keys SET revoked_at = $2, changed = $3 WHERE id = $1`, id, at, change); err != nil {
			return err
		}
		return putAudit(ctx, tx, entry)
	})
	return k, changeError(err)
}

// LastChange implements access.Store.
func (s *Store) LastChange(ctx context.Context) (number int64, err error) {
	err = s.db.Reader().GetContext(ctx, &number, `SELECT number FROM changes`)
	return number, err
}

// KeysSince implements access.Store. As in ChangedSince, the keys may be newer than the number says.
func (s *Store) KeysSince(ctx context.Context, since int64) (last int64, keys []access.Key, err error) {
	if last, err = s.LastChange(ctx); err != nil {
		return 0, nil, err
	}
	var rows []apiKeyRow
	if err := s.db.Reader().SelectContext(ctx, &rows, `SELECT `+apiKeyColumns+` FROM api_keys WHERE changed > $1`, since); err != nil {
		return 0, nil, err
	}
	return last, rowsToAPIKeys(rows), nil
}
