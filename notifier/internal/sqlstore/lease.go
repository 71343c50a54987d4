package sqlstore

import (
	"context"
	"fmt"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/platform/sqldb"
)

// A lease is held for as long as its holder is in the table leases, and not, as elsewhere, for a time that is written into
// each row: so what is leased when it is stored enters no index of due times, waits in a lane for as long as it must, and is
// free within seconds of its holder's death. Whoever removes a holder frees its rows in the same transaction; statements that
// lease hold the holder's row meanwhile (FOR KEY SHARE), so none can lease for one that is gone.

// Enter implements delivery.Store.
func (s *Store) Enter(ctx context.Context, replica string, holder int64) error {
	if err := s.syncClock(ctx); err != nil {
		return wrap("enter", err)
	}
	err := s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO leases (holder, replica, seen_at) VALUES ($1, $2, $3)
			ON CONFLICT (holder) DO UPDATE SET seen_at = excluded.seen_at`, holder, replica, s.Now()); err != nil {
			return err
		}
		return announce(ctx, tx)
	})
	return wrap("enter", err)
}

// Renew implements delivery.Store.
func (s *Store) Renew(ctx context.Context, holders []int64) (lost []int64, replicas int, err error) {
	if err := s.syncClock(ctx); err != nil {
		return nil, 0, wrap("renew leases", err)
	}
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		lost = lost[:0]
		now := s.Now()
		for _, holder := range holders {
			res, err := tx.ExecContext(ctx, `UPDATE leases SET seen_at = $2 WHERE holder = $1`, holder, now)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			if err != nil {
				return err
			}
			if n == 0 {
				lost = append(lost, holder)
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
		var holders []int64
		err := tx.SelectContext(ctx, &holders, tx.SQL(`SELECT holder FROM leases WHERE seen_at < $1 FOR UPDATE SKIP LOCKED`), s.Now().Add(-ttl))
		for _, holder := range holders {
			n, err := leave(ctx, tx, holder)
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
func (s *Store) Leave(ctx context.Context, holder int64) (freed int, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) (err error) {
		if freed, err = leave(ctx, tx, holder); err != nil {
			return err
		}
		return announce(ctx, tx)
	})
	return freed, wrap("leave", err)
}

// leave reads the whole of deliveries: that is rare, and an index of leases would cost every delivery.
func leave(ctx context.Context, tx *sqldb.Tx, holder int64) (int, error) {
	if _, err := tx.ExecContext(ctx, `DELETE FROM leases WHERE holder = $1`, holder); err != nil {
		return 0, err
	}
	first, last := delivery.Tokens(holder)
	res, err := tx.ExecContext(ctx, `UPDATE deliveries SET lease = 0 WHERE lease BETWEEN $1 AND $2`, first, last)
	if err != nil {
		return 0, fmt.Errorf("free: %w", err)
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// knows says whether the token's holder is known, and keeps it so until the transaction ends.
func knows(ctx context.Context, tx *sqldb.Tx, token int64) (bool, error) {
	var n []int64
	err := tx.SelectContext(ctx, &n, tx.SQL(`SELECT holder FROM leases WHERE holder = $1 FOR KEY SHARE`), delivery.Holder(token))
	return len(n) > 0, err
}
