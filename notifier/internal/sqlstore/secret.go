package sqlstore

import (
	"context"
	"strings"
	"time"

	"hirewire.dev/notifier/internal/secret"
	"hirewire.dev/notifier/internal/subscription"
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

var _ secret.Texts = (*Store)(nil)

// ReplaceDataKey implements secret.Texts.
func (s *Store) ReplaceDataKey(ctx context.Context, k secret.DataKey) error {
	_, err := s.db.ExecContext(ctx, `UPDATE data_keys SET master_id = $2, sealed = $3 WHERE id = $1`, k.ID, k.MasterID, k.Sealed)
	return err
}

// The places of sealed texts.
const (
	inSigningKeys = "signing key"
	inRequests    = "request"
)

// SealedOtherwise implements secret.Texts.
func (s *Store) SealedOtherwise(ctx context.Context, keyID string, limit int) ([]secret.Text, error) {
	var keys []keyRow
	if err := s.db.SelectContext(ctx, &keys, `SELECT id, subscription_id, kind, seal_key, sealed, public_key, created_at, expires_at
		FROM signing_keys WHERE seal_key <> $1 ORDER BY id LIMIT $2`, keyID, limit); err != nil {
		return nil, err
	}
	var texts []secret.Text
	for _, k := range keys {
		texts = append(texts, secret.Text{Place: inSigningKeys, ID: k.ID, Subject: subscription.Subject(k.SubscriptionID, k.ID), KeyID: k.SealKey, Sealed: k.Sealed})
	}
	var requests []requestRow
	if err := s.db.SelectContext(ctx, &requests, `SELECT actor, id, content, resource, seal_key, sealed, created_at FROM requests
		WHERE sealed IS NOT NULL AND seal_key <> $1 ORDER BY actor, id LIMIT $2`, keyID, limit); err != nil {
		return nil, err
	}
	for _, r := range requests {
		texts = append(texts, secret.Text{Place: inRequests, ID: r.Actor + "\n" + r.ID, Subject: rowToRequest(r).Subject(), KeyID: r.SealKey, Sealed: r.Sealed})
	}
	return texts, nil
}

// Reseal implements secret.Texts.
func (s *Store) Reseal(ctx context.Context, was secret.Text, keyID string, sealed []byte) error {
	var err error
	switch was.Place {
	case inSigningKeys:
		_, err = s.db.ExecContext(ctx, `UPDATE signing_keys SET seal_key = $3, sealed = $4 WHERE id = $1 AND seal_key = $2`, was.ID, was.KeyID, keyID, sealed)
	case inRequests:
		actor, id, _ := strings.Cut(was.ID, "\n")
		_, err = s.db.ExecContext(ctx, `UPDATE requests SET seal_key = $4, sealed = $5 WHERE actor = $1 AND id = $2 AND seal_key = $3 AND sealed IS NOT NULL`,
			actor, id, was.KeyID, keyID, sealed)
	}
	return err
}
