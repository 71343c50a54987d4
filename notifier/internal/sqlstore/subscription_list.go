package sqlstore

import (
	"context"
	"fmt"

	"hirewire.dev/notifier/internal/subscription"
)

// List implements subscription.Store.
func (s *Store) List(ctx context.Context, q subscription.Query) ([]subscription.Subscription, error) {
	var w where
	w.and("deleted_at IS NULL")
	if q.Owner != nil {
		w.and("owner = ?", *q.Owner)
	}
	if q.Status != "" {
		w.and("status = ?", string(q.Status))
	}
	if q.Name != "" {
		w.and("name = ?", q.Name)
	}
	if q.LabelKey != "" {
		if q.LabelValue == nil {
			w.and("id IN (SELECT subscription_id FROM subscription_labels WHERE name = ?)", q.LabelKey)
		} else {
			w.and("id IN (SELECT subscription_id FROM subscription_labels WHERE name = ? AND value = ?)", q.LabelKey, *q.LabelValue)
		}
	}
	if q.After != "" {
		w.and("id > ?", q.After)
	}
	var rows []subscriptionRow
	if err := s.db.Reader().SelectContext(ctx, &rows, `SELECT `+subscriptionColumns+` FROM subscriptions`+w.text()+
		` ORDER BY id LIMIT `+w.arg(q.Limit), w.args...); err != nil {
		return nil, err
	}
	list := make([]subscription.Subscription, len(rows))
	for i, row := range rows {
		r, err := rowToRecord(row)
		if err != nil {
			return nil, err
		}
		list[i] = r.Subscription
	}
	return list, nil
}

// changedAtOnce is how many subscriptions are read with their keys at a time.
const changedAtOnce = 500

// ChangedSince implements subscription.Feed. The mark is read before the rows, so they may be newer than it says: then they
// are read once more the next time, and a fan-out under its epoch is refused meanwhile.
func (s *Store) ChangedSince(ctx context.Context, since int64) (mark subscription.Mark, changed []subscription.Record, err error) {
	if mark, err = s.Mark(ctx); err != nil {
		return mark, nil, err
	}
	after := ""
	for {
		var rows []subscriptionRow
		if err := s.db.Reader().SelectContext(ctx, &rows, `SELECT `+subscriptionColumns+` FROM subscriptions
			WHERE changed > $1 AND id > $2 ORDER BY id LIMIT $3`, since, after, changedAtOnce); err != nil {
			return mark, nil, err
		}
		if len(rows) == 0 {
			return mark, changed, nil
		}
		var keys []keyRow
		if err := s.db.Reader().SelectContext(ctx, &keys, `SELECT id, subscription_id, kind, seal_key, sealed, public_key, created_at, expires_at
			FROM signing_keys WHERE subscription_id >= $1 AND subscription_id <= $2
			AND subscription_id IN (SELECT id FROM subscriptions WHERE changed > $3) ORDER BY id DESC`,
			rows[0].ID, rows[len(rows)-1].ID, since); err != nil {
			return mark, nil, err
		}
		of := make(map[string][]subscription.Key, len(rows))
		for _, k := range keys {
			of[k.SubscriptionID] = append(of[k.SubscriptionID], rowToKey(k))
		}
		for _, row := range rows {
			r, err := rowToRecord(row)
			if err != nil {
				return mark, nil, fmt.Errorf("read changed subscriptions: %w", err)
			}
			r.Keys = of[row.ID]
			changed = append(changed, r)
		}
		after = rows[len(rows)-1].ID
	}
}
