package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/notifier/internal/replay"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/sqldb"
)

// Retry implements history.Store.
func (s *Store) Retry(ctx context.Context, id string, owner *string, e audit.Entry) (delivery.Delivery, error) {
	d, err := s.delivery(ctx, id, owner)
	if err != nil {
		return d, err
	}
	if err := s.prepare(ctx, 1, takeFinished, addAgain, addAttempt, addEnded); err != nil {
		return d, wrap("retry delivery", err)
	}
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		if err := aliveSubscription(ctx, tx, d.SubscriptionID); err != nil {
			if errors.Is(err, replay.ErrGone) {
				err = history.ErrDeleted
			}
			return err
		}
		now := s.Now()
		var has bool
		err := tx.GetContext(ctx, &has, `SELECT payload IS NOT NULL FROM events WHERE id = $1`, d.EventID)
		if err == nil && !has || errors.Is(err, sql.ErrNoRows) {
			return history.ErrErased
		}
		if err != nil {
			return err
		}
		n, err := s.takeUp(ctx, tx, []string{id}, now)
		if err != nil {
			return err
		}
		if n == 0 {
			if _, err := tx.ExecContext(ctx, `UPDATE deliveries SET due_at = $2 WHERE id = $1 AND lease = 0 AND due_at > $2`, id, now); err != nil {
				return err
			}
		}
		return putAudit(ctx, tx, e)
	})
	if err != nil {
		return d, wrap("retry delivery", err)
	}
	return s.delivery(ctx, id, owner)
}

// HasSubscription implements history.Store.
func (s *Store) HasSubscription(ctx context.Context, subscriptionID string, owner *string) error {
	var w where
	w.and("id = ?", subscriptionID)
	if owner != nil {
		w.and("owner = ?", *owner)
	}
	var has bool
	if err := s.db.Reader().GetContext(ctx, &has, `SELECT EXISTS (SELECT 1 FROM subscriptions`+w.text()+`)`, w.args...); err != nil {
		return wrap("look for subscription", err)
	}
	if !has {
		return subscription.ErrNotFound
	}
	return nil
}

// Balance implements history.Store. Both sides are read by one statement: what is pending is counted, not reckoned.
func (s *Store) Balance(ctx context.Context, subscriptionID string, owner *string) (b history.Balance, err error) {
	var counts, pending where
	if subscriptionID != "" {
		counts.and("subscription_id = ?", subscriptionID)
	}
	if owner != nil {
		counts.and("subscription_id IN (SELECT id FROM subscriptions WHERE owner = ?)", *owner)
	}
	pending = where{parts: counts.parts} // the same parameters
	row := s.db.Reader().QueryRowContext(ctx, `SELECT CAST(coalesce(sum(fanned_out), 0) AS bigint), CAST(coalesce(sum(delivered), 0) AS bigint), CAST(coalesce(sum(dead), 0) AS bigint), CAST(coalesce(sum(cancelled), 0) AS bigint),
		(SELECT count(*) FROM deliveries`+pending.text()+`) FROM balances`+counts.text(), counts.args...)
	err = row.Scan(&b.FannedOut, &b.Delivered, &b.Dead, &b.Cancelled, &b.Pending)
	return b, wrap("read balance", err)
}
