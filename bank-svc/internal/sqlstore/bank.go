package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"hirewire.dev/platform/sqldb"
)

// Bank is who a database belongs to, and what is arranged with the notifier.
type Bank struct {
	InstanceID    string // made once for each database
	Name          string
	Country       string
	WebhookSecret string // made here; used where none is configured. Never log it.
	// SubscriptionID is the subscription that the notifier is known to have; empty at first.
	SubscriptionID string
	// RegisteredSecret is the SHA-256 of the secret that the notifier is known to sign with; empty at first.
	RegisteredSecret string
}

// Own makes the database the bank's at the first start, with the ids and the secret given; later it gives what was stored
// then. Of two processes that start at once, both get what the first one stored.
//
// It fails when the database is another bank's: two banks never share one.
func (s *Store) Own(ctx context.Context, b Bank) (Bank, error) {
	var stored Bank
	err := s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO bank (instance_id, name, country, webhook_secret, created_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (only_row) DO NOTHING`, b.InstanceID, b.Name, b.Country, b.WebhookSecret, now())
		if err != nil {
			return err
		}
		stored, err = readBank(ctx, tx)
		return err
	})
	if errors.Is(err, sqldb.ErrAmbiguous) {
		stored, err = readBank(ctx, s.db)
	}
	switch {
	case err != nil:
		return Bank{}, fmt.Errorf("claim the database: %w", err)
	case stored.Name != b.Name:
		return Bank{}, fmt.Errorf("the database belongs to the bank %q, not to %q: each bank needs its own", stored.Name, b.Name)
	case stored.Country != b.Country:
		return Bank{}, fmt.Errorf("the database belongs to a bank in %s, not in %s: account numbers cannot change country", stored.Country, b.Country)
	}
	return stored, nil
}

func readBank(ctx context.Context, q querier) (b Bank, err error) {
	rows, err := q.QueryContext(ctx, `SELECT instance_id, name, country, webhook_secret, subscription_id, registered_secret FROM bank`)
	if err != nil {
		return Bank{}, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if !rows.Next() {
		return Bank{}, errors.Join(sql.ErrNoRows, rows.Err())
	}
	if err := rows.Scan(&b.InstanceID, &b.Name, &b.Country, &b.WebhookSecret, &b.SubscriptionID, &b.RegisteredSecret); err != nil {
		return Bank{}, err
	}
	return b, rows.Err()
}

// Bank reads what Own stored, with what SetSubscription added.
func (s *Store) Bank(ctx context.Context) (Bank, error) {
	b, err := readBank(ctx, s.db.Reader())
	if err != nil {
		return Bank{}, fmt.Errorf("read the bank: %w", err)
	}
	return b, nil
}

// SetSubscription notes which subscription the notifier has, and the SHA-256 of the secret that it signs with. Doing it again is no harm.
func (s *Store) SetSubscription(ctx context.Context, subscriptionID, registeredSecret string) error {
	if _, err := s.db.ExecContext(ctx, `UPDATE bank SET subscription_id = $1, registered_secret = $2`, subscriptionID, registeredSecret); err != nil {
		return fmt.Errorf("note the subscription: %w", err)
	}
	return nil
}
