package sqlstore

import (
	"context"
	"fmt"
	"time"

	"hirewire.dev/platform/sqldb"
)

// cancelAtOnce is how many pending deliveries are cancelled in the transaction that deletes their subscription. The rest
// follow in steps; none of them is sent meanwhile, as no snapshot has their subscription.
const cancelAtOnce = 1000

// cancelGrace is how long after its deletion a subscription is looked at again: for what was on its way into the database.
const cancelGrace = time.Minute

// cancelledShard of balances counts what was cancelled.
const cancelledShard = -1

// cancelSome moves pending deliveries of a subscription to the history, as cancelled: at most limit.
func (s *Store) cancelSome(ctx context.Context, tx *sqldb.Tx, subscriptionID string, limit int, now time.Time) (int, error) {
	const columns = `id, event_id, event_type, subscription_id, employee_id, position`
	var n int64
	if tx.Engine == sqldb.PostgreSQL {
		done, err := tx.ExecContext(ctx, `WITH gone AS (
				DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE subscription_id = $1 ORDER BY id LIMIT $2 FOR UPDATE)
				RETURNING `+columns+`, attempts, created_at)
			INSERT INTO finished_deliveries (`+columns+`, status, attempts, created_at, finished_at)
			SELECT `+columns+`, 'CANCELLED', attempts, created_at, $3 FROM gone`, subscriptionID, limit, now)
		if err != nil {
			return 0, fmt.Errorf("cancel deliveries: %w", err)
		}
		if n, err = done.RowsAffected(); err != nil {
			return 0, err
		}
	} else {
		const some = `(SELECT id FROM deliveries WHERE subscription_id = $1 ORDER BY id LIMIT $2)`
		if _, err := tx.ExecContext(ctx, `INSERT INTO finished_deliveries (`+columns+`, status, attempts, created_at, finished_at)
			SELECT `+columns+`, 'CANCELLED', attempts, created_at, $3 FROM deliveries WHERE id IN `+some, subscriptionID, limit, now); err != nil {
			return 0, fmt.Errorf("cancel deliveries: %w", err)
		}
		done, err := tx.ExecContext(ctx, `DELETE FROM deliveries WHERE id IN `+some, subscriptionID, limit)
		if err != nil {
			return 0, fmt.Errorf("cancel deliveries: %w", err)
		}
		if n, err = done.RowsAffected(); err != nil {
			return 0, err
		}
	}
	if n == 0 {
		return 0, nil
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO balances (subscription_id, shard, cancelled) VALUES ($1, $2, $3)
		ON CONFLICT (subscription_id, shard) DO UPDATE SET cancelled = balances.cancelled + excluded.cancelled`,
		subscriptionID, cancelledShard, n); err != nil {
		return 0, fmt.Errorf("count cancelled deliveries: %w", err)
	}
	return int(n), nil
}

// CancelPending implements subscription.Store.
func (s *Store) CancelPending(ctx context.Context, limit int) (int, error) {
	var ids []string
	if err := s.db.Reader().SelectContext(ctx, &ids, `SELECT id FROM subscriptions
		WHERE deleted_at IS NOT NULL AND NOT cancelled ORDER BY deleted_at LIMIT 10`); err != nil {
		return 0, err
	}
	total := 0
	for _, id := range ids {
		n := 0
		err := s.db.InTx(ctx, func(tx *sqldb.Tx) error {
			now := s.Now()
			var err error
			if n, err = s.cancelSome(ctx, tx, id, limit, now); err != nil || n > 0 {
				return err
			}
			_, err = tx.ExecContext(ctx, `UPDATE subscriptions SET cancelled = true WHERE id = $1 AND deleted_at < $2`, id, now.Add(-cancelGrace))
			return err
		})
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}

// Forget implements subscription.Store.
func (s *Store) Forget(ctx context.Context, now, cutoff time.Time) error {
	for _, step := range []struct {
		what, query string
		args        []any
	}{
		{"keys that ended", `DELETE FROM signing_keys WHERE expires_at IS NOT NULL AND expires_at <= $1`, []any{now.Add(-time.Minute)}},
		{"secrets of requests", `UPDATE requests SET sealed = NULL WHERE sealed IS NOT NULL AND created_at < $1`, []any{now.Add(-24 * time.Hour)}},
		{"requests", `DELETE FROM requests WHERE created_at < $1`, []any{cutoff}},
		{"audit entries", `DELETE FROM audit_entries WHERE id IN (SELECT id FROM audit_entries WHERE at < $1 ORDER BY id LIMIT 1000)`, []any{now.Add(-auditKept)}},
		{"data keys", `DELETE FROM data_keys
			WHERE EXISTS (SELECT 1 FROM data_keys AS newer WHERE newer.id > data_keys.id AND newer.created_at < $1)
			AND NOT EXISTS (SELECT 1 FROM signing_keys WHERE seal_key = data_keys.id)
			AND NOT EXISTS (SELECT 1 FROM requests WHERE seal_key = data_keys.id AND sealed IS NOT NULL)`, []any{now.Add(-dataKeyGrace)}},
		{"labels", `DELETE FROM subscription_labels WHERE subscription_id IN (SELECT id FROM subscriptions WHERE deleted_at < $1 AND cancelled)`, []any{cutoff}},
		{"subscriptions", `DELETE FROM subscriptions WHERE deleted_at < $1 AND cancelled`, []any{cutoff}},
	} {
		if err := s.db.InTx(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.ExecContext(ctx, step.query, step.args...)
			return err
		}); err != nil {
			return fmt.Errorf("forget %s: %w", step.what, err)
		}
	}
	return nil
}

// dataKeyGrace is how long a new data key has been there when an old one, which seals nothing any more, may go: replicas look
// for new ones every few minutes.
const dataKeyGrace = time.Hour

// auditKept is how long the audit is kept.
const auditKept = 2 * 365 * 24 * time.Hour
