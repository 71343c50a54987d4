package sqlstore

import (
	"context"
	"time"

	"hirewire.dev/notifier/internal/secret"
)

var _ secret.Store = (*Store)(nil)

// DataKeys implements secret.Store.
func (s *Store) DataKeys(ctx context.Context) ([]secret.DataKey, error) {
	var rows []struct {
		ID        string    `db:"id"`
		MasterID  string    `db:"master_id"`
		Sealed    []byte    `db:"sealed"`
		CreatedAt time.Time `db:"created_at"`
	}
	if err := s.db.SelectContext(ctx, &rows, `SELECT id, master_id, sealed, created_at FROM data_keys ORDER BY id`); err != nil {
		return nil, err
	}
	keys := make([]secret.DataKey, len(rows))
	for i, row := range rows {
		keys[i] = secret.DataKey{ID: row.ID, MasterID: row.MasterID, Sealed: row.Sealed, CreatedAt: row.CreatedAt.UTC()}
	}
	return keys, nil
}

// AddDataKey implements secret.Store.
func (s *Store) AddDataKey(ctx context.Context, k secret.DataKey) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO data_keys (id, master_id, sealed, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (id) DO NOTHING`, k.ID, k.MasterID, k.Sealed, k.CreatedAt)
	return err
}
