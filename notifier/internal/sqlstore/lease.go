package sqlstore

import (
	"context"
	"fmt"
	"time"

	"hirewire.dev/platform/sqldb"
)

// A lease is held for as long as its holder's token is in the table leases, and not, as elsewhere, for a time that is
// written into each row: so what is leased when it is stored enters no index of due times, waits in a lane for as long as
// it must, and is free within seconds of its holder's death. Whoever removes a token frees its rows in the same
// transaction; statements that lease hold the token's row meanwhile, so none can lease for a token that is gone.

// Enter implements delivery.Store.
func (s *Store) Enter(ctx context.Context, replica string, token int64) error {
	if err := s.syncClock(ctx); err != nil {
		return wrap("enter", err)
	}
	_, err := s.db.ExecContext(ctx, `INSERT INTO leases (token, replica, seen_at) VALUES ($1, $2, $3)
		ON CONFLICT (token) DO UPDATE SET seen_at = excluded.seen_at`, token, replica, s.Now())
	return wrap("enter", err)
}

// Renew implements delivery.Store.
func (s *Store) Renew(ctx context.Context, tokens []int64) (lost []int64, replicas int, err error) {
	if err := s.syncClock(ctx); err != nil {
		return nil, 0, wrap("renew leases", err)
	}
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		lost = lost[:0]
		now := s.Now()
		for _, token := range tokens {
			res, err := tx.ExecContext(ctx, `UPDATE leases SET seen_at = $2 WHERE token = $1`, token, now)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			if err != nil {
				return err
			}
			if n == 0 {
				lost = append(lost, token)
			}
		}
		return tx.QueryRowContext(ctx, `SELECT count(DISTINCT replica) FROM leases WHERE seen_at > $1`, now.Add(-aliveFor)).Scan(&replicas)
	})
	return lost, replicas, wrap("renew leases", err)
}

// aliveFor is how recently a replica must have been seen to be counted.
const aliveFor = 5 * time.Second

// Expire implements delivery.Store.
func (s *Store) Expire(ctx context.Context, ttl time.Duration) (freed int, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		freed = 0
		var tokens []int64
		err := tx.SelectContext(ctx, &tokens, tx.SQL(`SELECT token FROM leases WHERE seen_at < $1 FOR UPDATE SKIP LOCKED`), s.Now().Add(-ttl))
		for _, token := range tokens {
			n, err := leave(ctx, tx, token)
			if err != nil {
				return err
			}
			freed += n
		}
		return err
	})
	return freed, wrap("expire leases", err)
}

// Leave implements delivery.Store.
func (s *Store) Leave(ctx context.Context, token int64) (freed int, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) (err error) {
		freed, err = leave(ctx, tx, token)
		return err
	})
	return freed, wrap("leave", err)
}

// leave reads the whole of deliveries: that is rare, and an index of leases would cost every delivery.
func leave(ctx context.Context, tx *sqldb.Tx, token int64) (int, error) {
	if _, err := tx.ExecContext(ctx, `DELETE FROM leases WHERE token = $1`, token); err != nil {
		return 0, err
	}
	res, err := tx.ExecContext(ctx, `UPDATE deliveries SET lease = 0 WHERE lease = $1`, token)
	if err != nil {
		return 0, fmt.Errorf("free: %w", err)
	}
	n, err := res.RowsAffected()
	return int(n), err
}
