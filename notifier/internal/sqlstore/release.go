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
	if err := s.prepare(ctx, len(batch), releaseDelivery); err != nil {
		return wrap("release deliveries", err)
	}
	return wrap("release deliveries", s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		now := s.Now()
		_, err := s.exec(ctx, tx, releaseDelivery, len(batch), func(args []any, i int) []any {
			return append(args, batch[i].ID, batch[i].Token, now.Add(batch[i].Wait))
		})
		return err
	}))
}

var releaseDelivery = statement(`UPDATE deliveries SET lease = 0, due_at = r.column3 FROM (VALUES %s) AS r
	WHERE deliveries.id = r.column1 AND deliveries.lease = r.column2`, 3, "text", "bigint", "timestamptz")

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
		FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS r(id, token, wait) WHERE d.id BETWEEN r.id AND r.id AND d.lease = r.token`,
		id.done(), token.done(), wait.done(), s.Now())
	return err
}
