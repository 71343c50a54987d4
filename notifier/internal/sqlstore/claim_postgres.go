package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
)

// claimSQL claims for all subscriptions that have room, in one statement.
//
//   - c are the candidates, locked: what is due, the longest due first. Another claimer skips them.
//   - head is the first in the line of each. Who is not first is put off (late), the others are leased (got).
//   - Both updates repeat the predicate: what FOR UPDATE has locked may have been leased since the snapshot.
//   - The head is read from the snapshot, and may have ended since. Then endSQL has woken the one behind it, or will when
//     this commits. In the first case the locked row is not as the snapshot (o) has it, and must not be put off.
const claimSQL = `
WITH live AS MATERIALIZED (
	SELECT FROM leases WHERE holder = $8 FOR KEY SHARE
), c AS MATERIALIZED (
	SELECT d.* FROM live CROSS JOIN unnest($2::text[], $3::int[], $4::bool[]) AS w(subscription, room, ordered)
	CROSS JOIN LATERAL (
		SELECT id, subscription_id, w.ordered, employee_id, position, due_at, created_at FROM deliveries
		WHERE subscription_id = w.subscription AND lease = 0 AND due_at <= $5
		ORDER BY due_at LIMIT w.room FOR UPDATE SKIP LOCKED
	) d
), ranked AS MATERIALIZED (
	SELECT c.id, c.due_at, head.id AS head_id,
		CASE WHEN head.lease <> 0 THEN least($5 + $9 * ($5 - c.created_at), $6) ELSE least(greatest(head.due_at, $6), $7) END AS until
	FROM c LEFT JOIN LATERAL (
		SELECT h.id, h.due_at, h.lease FROM deliveries h
		WHERE c.ordered AND c.employee_id <> '' AND h.subscription_id = c.subscription_id AND h.employee_id = c.employee_id
		ORDER BY h.position LIMIT 1
	) head ON true
), late AS (
	UPDATE deliveries d SET due_at = r.until
	FROM ranked r WHERE d.id BETWEEN r.id AND r.id AND r.head_id <> r.id AND d.lease < 1
		AND r.due_at = (SELECT o.due_at FROM deliveries o WHERE o.id = r.id)
	RETURNING d.subscription_id
), got AS (
	UPDATE deliveries d SET lease = $1
	FROM ranked r WHERE d.id BETWEEN r.id AND r.id AND (r.head_id IS NULL OR r.head_id = r.id) AND d.lease < 1
	RETURNING d.id, d.event_id, d.event_type, d.subscription_id, d.employee_id, d.position, d.attempts, d.base, d.due_at, d.created_at
)
SELECT got.*, e.version, e.occurred_at, e.received_at, e.payload, e.traceparent FROM got LEFT JOIN events e ON e.id = got.event_id
UNION ALL
SELECT '', '', '', subscription_id, '', count(*), 0, 0, $5, $5, NULL, NULL, NULL, NULL, NULL FROM late GROUP BY subscription_id`

type claimArgs struct{ subscription, room, ordered array }

func (s *Store) claimAtOnce(ctx context.Context, token int64, wants []delivery.Want) (claimed []delivery.Leased, more []string, err error) {
	err = s.claims.use(ctx, s.db.DB.DB, func(prepare func(string) (*sql.Stmt, error)) error {
		st, err := prepare(claimSQL) //nolint:sqlclosecheck // the session closes it
		if err != nil {
			return err
		}
		a := &s.claimArgs
		a.subscription.reset(oidText)
		a.room.reset(oidInt4)
		a.ordered.reset(oidBool)
		taken := make(map[string]int64, len(wants))
		for _, w := range wants {
			a.subscription.text(w.SubscriptionID)
			a.room.int4(w.Room)
			a.ordered.bool(w.Ordered)
		}
		now := s.Now()
		rows, err := st.QueryContext(ctx, token, a.subscription.done(), a.room.done(), a.ordered.done(), now, now.Add(putOffLeast), now.Add(putOffMost), delivery.Holder(token), putOffTimes)
		if err != nil {
			return err
		}
		if err := scanClaimed(rows, token, &claimed, taken); err != nil {
			return err
		}
		for _, w := range wants {
			if taken[w.SubscriptionID] >= int64(w.Room) {
				more = append(more, w.SubscriptionID)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err // rows come before the commit: without its answer they are worth nothing
	}
	return claimed, more, nil
}

// scanClaimed reads the rows: first what was claimed, each event shared; then, without an id, how many were put off.
func scanClaimed(rows *sql.Rows, token int64, claimed *[]delivery.Leased, taken map[string]int64) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	events := map[string]*event.Event{}
	for rows.Next() {
		l := delivery.Leased{Token: token}
		l.Status = delivery.Pending
		var version sql.NullInt64
		var occurred, received sql.Null[time.Time]
		var payload sql.RawBytes
		var traceparent sql.NullString
		if err := rows.Scan(&l.ID, &l.EventID, &l.EventType, &l.SubscriptionID, &l.EmployeeID, &l.Position, &l.Attempts, &l.Base,
			&l.DueAt, &l.CreatedAt, &version, &occurred, &received, &payload, &traceparent); err != nil {
			return err
		}
		if l.ID == "" {
			taken[l.SubscriptionID] += l.Position
			continue
		}
		taken[l.SubscriptionID]++
		if l.Event = events[l.EventID]; l.Event == nil && len(payload) > 0 {
			l.Event = &event.Event{
				ID: l.EventID, Type: l.EventType, EmployeeID: l.EmployeeID, Version: version.Int64,
				OccurredAt: occurred.V.UTC(), ReceivedAt: received.V.UTC(), Payload: append([]byte(nil), payload...),
				Traceparent: traceparent.String, Position: l.Position,
			}
			events[l.EventID] = l.Event
		}
		*claimed = append(*claimed, l)
	}
	return rows.Err()
}
