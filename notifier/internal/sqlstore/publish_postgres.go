package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lib/pq"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/ingest"
)

// maxStatementRows bounds what one statement stores, and so the memory it takes.
const maxStatementRows = 20_000

// publishSQL stores a batch whose events are all new, and fails with a unique violation if one is not.
//
//   - f takes the lock that makes positions follow the order of commits, and checks the epoch. Without f nothing happens.
//   - live keeps the token's holder known until the commit: whoever removes it waits, and then sees what it has leased.
//   - A delivery is leased if it may be and nothing earlier is pending for its employee. That is read from the statement's
//     snapshot, which is older than f if another replica committed while f waited: then feed's position in the snapshot
//     is not f's, and nothing is leased.
//
// LIMIT keeps the planner from answering that for all at once, by reading everything that is pending.
//
// Texts come as arrays. The payloads and their sums come as one bytea each, and are cut: arrays of bytea would have each
// byte escaped.
const publishSQL = `
WITH f AS (
	UPDATE feed SET position = position + $1 WHERE id = 1 AND epoch = $2 RETURNING position - $1 AS base
), live AS (
	SELECT $3::bigint AS token FROM leases WHERE holder = $25 FOR KEY SHARE
), e AS (
	INSERT INTO events (id, position, type, employee_id, version, occurred_at, received_at, payload, payload_sha256, traceparent)
	SELECT x.id, f.base + x.n, x.type, x.employee, x.version, timestamptz 'epoch' + x.occurred * interval '1 microsecond', $4,
		substring($5::bytea FROM x.start FOR x.size), substring($6::bytea FROM x.n::int * 32 - 31 FOR 32), x.traceparent
	FROM f CROSS JOIN unnest($7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::int[], $13::int[], $14::text[])
		WITH ORDINALITY AS x(id, type, employee, version, occurred, start, size, traceparent, n)
), d AS (
	INSERT INTO deliveries (id, event_id, event_type, subscription_id, employee_id, position, due_at, lease, created_at)
	SELECT y.id, y.event, y.type, y.subscription, y.employee, f.base + y.n,
		$4 + CASE WHEN y.wait = 0 AND q.blocked THEN $24 ELSE y.wait END * interval '1 microsecond',
		CASE WHEN y.may IN (1, 2) AND NOT q.blocked AND live.token IS NOT NULL AND (SELECT position FROM feed WHERE id = 1) = f.base
			THEN live.token ELSE 0 END, $4
	FROM f LEFT JOIN live ON true
		CROSS JOIN unnest($15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::bigint[], $21::bigint[], $22::int[])
		AS y(id, event, type, subscription, employee, n, wait, may)
		CROSS JOIN LATERAL (SELECT y.may = 3 OR y.may = 2 AND (
			SELECT p.id FROM deliveries p WHERE p.subscription_id = y.subscription AND p.employee_id = y.employee ORDER BY p.position LIMIT 1
		) IS NOT NULL AS blocked OFFSET 0) q
	RETURNING id, subscription_id, lease, due_at
), b AS (
	INSERT INTO balances (subscription_id, shard, fanned_out)
	SELECT subscription_id, $23, count(*) FROM d GROUP BY subscription_id ORDER BY subscription_id
	ON CONFLICT (subscription_id, shard) DO UPDATE SET fanned_out = balances.fanned_out + excluded.fanned_out
)
SELECT base, ARRAY(SELECT id FROM d WHERE lease = 0 AND due_at <= $4), ARRAY(SELECT id FROM d WHERE lease = 0 AND due_at > $4) FROM f`

type publishArgs struct {
	payloads, sums                                                       []byte
	id, typ, employee, version, occurred, start, size, traceparent       array
	dID, dEvent, dType, dSubscription, dEmployee, dPosition, dWait, dMay array
}

func (a *publishArgs) fill(b *ingest.Batch) {
	for i, p := range a.arrays() {
		p.reset(publishTypes[i])
	}
	a.payloads, a.sums = a.payloads[:0], a.sums[:0]
	for i, e := range b.Events {
		a.id.text(e.ID)
		a.typ.text(e.Type)
		a.employee.text(e.EmployeeID)
		a.version.int8(e.Version)
		a.occurred.time(e.OccurredAt)
		a.start.int4(len(a.payloads) + 1)
		a.size.int4(len(e.Payload))
		a.traceparent.text(e.Traceparent)
		a.payloads = append(a.payloads, e.Payload...)
		a.sums = append(a.sums, b.Sums[i][:]...)
	}
	lines := lines{}
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		e := b.Events[d.Event]
		a.dID.text(d.ID)
		a.dEvent.text(e.ID)
		a.dType.text(e.Type)
		a.dSubscription.text(d.SubscriptionID)
		a.dEmployee.text(e.EmployeeID)
		a.dPosition.int8(int64(d.Event) + 1)
		a.dWait.int8(d.Wait.Microseconds())
		a.dMay.int4(int(lines.may(d, e.EmployeeID)))
	}
}

func (a *publishArgs) arrays() []*array {
	return []*array{
		&a.id, &a.typ, &a.employee, &a.version, &a.occurred, &a.start, &a.size, &a.traceparent,
		&a.dID, &a.dEvent, &a.dType, &a.dSubscription, &a.dEmployee, &a.dPosition, &a.dWait, &a.dMay,
	}
}

// publishTypes are the types of arrays.
var publishTypes = [...]uint32{
	oidText, oidText, oidText, oidInt8, oidInt8, oidInt4, oidInt4, oidText,
	oidText, oidText, oidText, oidText, oidText, oidInt8, oidInt8, oidInt4,
}

func (s *Store) publishAtOnce(ctx context.Context, b *ingest.Batch) (stored bool, err error) {
	err = s.publishes.use(ctx, s.db.DB.DB, func(prepare func(string) (*sql.Stmt, error)) error {
		st, err := prepare(publishSQL) //nolint:sqlclosecheck // The session keeps it.
		if err != nil {
			return err
		}
		s.publishArgs.fill(b)
		args := make([]any, 0, 25)
		args = append(args, int64(len(b.Events)), b.Epoch, b.Token, b.At, s.publishArgs.payloads, s.publishArgs.sums)
		for _, a := range s.publishArgs.arrays() {
			args = append(args, a.done())
		}
		args = append(args, s.shard*2, delivery.BlockedFor.Microseconds(), delivery.Holder(b.Token))
		var base int64
		var queued, blocked []string
		err = st.QueryRowContext(ctx, args...).Scan(&base, pq.Array(&queued), pq.Array(&blocked))
		if errors.Is(err, sql.ErrNoRows) {
			return nil // another epoch
		}
		if err != nil {
			return err
		}
		stored = true
		settle(b, base, queued, blocked)
		return nil
	})
	return stored, err
}

// settle writes down what was stored: all of it, leased but for what is listed.
func settle(b *ingest.Batch, base int64, queued, blocked []string) {
	for i, e := range b.Events {
		e.Position = base + int64(i) + 1
	}
	fates := make(map[string]ingest.Fate, len(queued)+len(blocked))
	for _, id := range queued {
		fates[id] = ingest.Queued
	}
	for _, id := range blocked {
		fates[id] = ingest.Blocked
	}
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		switch fate := fates[d.ID]; {
		case fate == ingest.Absent:
			d.Fate = ingest.Leased
		case d.Wait > 0:
			d.Fate = ingest.Queued
		default:
			d.Fate = fate
		}
	}
}
