package sqlstore

import (
	"context"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/platform/sqldb"
)

// Release implements delivery.Store.
func (s *Store) Release(ctx context.Context, batch []delivery.Released) error {
	if s.db.Engine == sqldb.PostgreSQL && !s.generic {
		return wrap("release deliveries", s.releaseAtOnce(ctx, batch))
	}
	return wrap("release deliveries", s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		now := s.Now()
		for _, r := range batch {
			if _, err := tx.ExecContext(ctx, `UPDATE deliveries SET lease = 0, due_at = $3 WHERE id = $1 AND lease = $2`, r.ID, r.Token, now.Add(r.Wait)); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (s *Store) releaseAtOnce(ctx context.Context, batch []delivery.Released) error {
	var id, token, wait array
	id.reset(oidText)
	token.reset(oidInt8)
	wait.reset(oidInt8)
	for _, r := range batch {
		id.text(r.ID)
		token.int8(r.Token)
		wait.int8(r.Wait.Microseconds())
	}
	_, err := s.db.ExecContext(ctx, `UPDATE deliveries d SET lease = 0, due_at = $4::timestamptz + r.wait * interval '1 microsecond'
		FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS r(id, token, wait) WHERE d.id = r.id AND d.lease = r.token`,
		id.done(), token.done(), wait.done(), s.Now())
	return err
}
