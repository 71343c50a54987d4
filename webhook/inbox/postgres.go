package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// postgres sends each batch as one statement with arrays.
type postgres struct {
	table
	insertion, claiming, finishing, giving statement
}

var _ backend = (*postgres)(nil)

func newPostgres(db *sql.DB) *postgres {
	prepare := func(text string) statement { return statement{db: db, text: text} }
	return &postgres{
		table: table{db: db, toTime: func(t time.Time) any { return t }},
		// A row that has to wait for another one of its key, which this instance
		// does not hold, is inserted without a lease, due at once. Rows of the
		// same batch do not see each other and keep their order in memory.
		insertion: prepare(`
			INSERT INTO inbox_events (id, type, ordering_key, version, signature, sender_attempt, traceparent, status,
				last_error, body, sent_at, received_at, finished_at, lease, due_at, attempts, strikes, outcome, reference)
			SELECT g.id, g.type, g.ordering_key, g.version, g.signature, g.sender_attempt, g.traceparent, g.status,
				g.last_error, g.body, g.sent_at, g.received_at,
				CASE WHEN g.status = 'QUARANTINED' THEN g.received_at END,
				CASE WHEN g.mine THEN $13::bigint ELSE 0 END,
				CASE WHEN g.mine THEN $14::timestamptz ELSE $15::timestamptz END,
				0, 0, '', ''
			FROM (
				SELECT n.*, n.status = 'PENDING' AND n.nth <= $16::bigint AND (n.ordering_key = '' OR NOT EXISTS (
					SELECT FROM inbox_events p
					WHERE p.ordering_key = n.ordering_key AND p.status IN ('PENDING', 'FAILED')
						AND (p.lease >> 32 <> $13::bigint >> 32 OR p.due_at <= $15::timestamptz))) AS mine
				FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::int[], $7::text[],
					$8::text[], $9::text[], $10::bytea[], $11::timestamptz[], $12::timestamptz[])
				WITH ORDINALITY AS n(id, type, ordering_key, version, signature, sender_attempt, traceparent,
					status, last_error, body, sent_at, received_at, nth)
			) g
			ORDER BY g.nth
			ON CONFLICT (id) DO NOTHING
			RETURNING id, seq, lease`),
		// The conditions are repeated outside: a row that another claimer took
		// between the two reads must not be taken again.
		claiming: prepare(`
			WITH due AS (
				SELECT seq FROM inbox_events e
				WHERE ` + open + ` AND lease >= 0 AND due_at <= $1
					AND (ordering_key = '' OR NOT EXISTS (
						SELECT FROM inbox_events p
						WHERE p.ordering_key = e.ordering_key AND p.seq + 0 < e.seq AND p.status IN ('PENDING', 'FAILED')))
				ORDER BY due_at, seq
				LIMIT $2
				FOR UPDATE SKIP LOCKED
			)
			UPDATE inbox_events e SET lease = $3, due_at = $4
			FROM due
			WHERE e.seq = due.seq AND e.status IN ('PENDING', 'FAILED') AND e.due_at <= $1
			RETURNING e.seq, e.id, e.ordering_key, e.version, e.attempts, e.strikes, e.last_error = '` + tookTooLong + `', e.traceparent, e.sent_at, e.received_at, e.body`),
		finishing: prepare(`
			UPDATE inbox_events e
			SET status = r.status, outcome = r.outcome, reference = r.reference, attempts = e.attempts + 1,
				finished_at = $6, lease = 0
			FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[]) AS r(seq, lease, status, outcome, reference)
			WHERE e.seq = r.seq AND e.lease = r.lease
				AND (e.ordering_key = '' OR NOT EXISTS (
					SELECT FROM inbox_events p
					WHERE p.ordering_key = e.ordering_key AND p.seq + 0 < e.seq AND p.status IN ('PENDING', 'FAILED')
						AND p.seq <> ALL ($1::bigint[])))`),
		giving: prepare(`
			UPDATE inbox_events e SET lease = 0, due_at = $3
			FROM unnest($1::bigint[], $2::bigint[]) AS r(seq, lease)
			WHERE e.seq = r.seq AND e.lease = r.lease`),
	}
}

func (p *postgres) insert(ctx context.Context, rows []*row, given int, lease int64, now, until time.Time) (_ map[string]inserted, err error) {
	res, err := p.insertion.query(ctx,
		textArray(rows, func(r *row) string { return r.id }),
		textArray(rows, func(r *row) string { return r.kind }),
		textArray(rows, func(r *row) string { return r.subject.Key }),
		intArray(rows, func(r *row) int64 { return r.subject.Version }),
		textArray(rows, func(r *row) string { return r.signature }),
		intArray(rows, func(r *row) int64 { return int64(r.senderAttempt) }),
		textArray(rows, func(r *row) string { return r.traceparent }),
		textArray(rows, func(r *row) string { return string(r.status) }),
		textArray(rows, func(r *row) string { return r.lastError }),
		byteaArray(rows, func(r *row) []byte { return r.body }),
		timeArray(rows, func(r *row) time.Time { return r.sentAt }),
		timeArray(rows, func(r *row) time.Time { return r.receivedAt }),
		lease, until, now, given)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, res.Close()) }()
	out := make(map[string]inserted, len(rows))
	for res.Next() {
		var id string
		var in inserted
		if err := res.Scan(&id, &in.seq, &in.lease); err != nil {
			return nil, err
		}
		out[id] = in
	}
	return out, res.Err()
}

func (p *postgres) claim(ctx context.Context, lease int64, now, until time.Time, limit int) ([]*item, error) {
	rows, err := p.claiming.query(ctx, now, limit, lease, until)
	if err != nil {
		return nil, err
	}
	items, err := scanItems(rows, lease, until)
	slices.SortFunc(items, bySeq)
	return items, err
}

func (p *postgres) ready(ctx context.Context) error { return p.finishing.ready(ctx) }

func (p *postgres) finish(ctx context.Context, tx *sql.Tx, items []*item, now time.Time) (int, error) {
	return p.finishing.execIn(ctx, tx,
		intArray(items, func(it *item) int64 { return it.seq }),
		intArray(items, func(it *item) int64 { return it.lease }),
		textArray(items, func(it *item) string { return string(it.event.status()) }),
		textArray(items, func(it *item) string { return clean(it.event.Outcome, maxNote) }),
		textArray(items, func(it *item) string { return clean(it.event.Reference, maxNote) }),
		now)
}

func (p *postgres) giveBack(ctx context.Context, items []*item, now time.Time) error {
	return p.giving.exec(ctx,
		intArray(items, func(it *item) int64 { return it.seq }),
		intArray(items, func(it *item) int64 { return it.lease }),
		now)
}

func (p *postgres) analyze(ctx context.Context) error {
	_, err := p.db.ExecContext(ctx, "ANALYZE inbox_events")
	return err
}

func (p *postgres) close() error {
	if err := errors.Join(p.insertion.close(), p.claiming.close(), p.finishing.close(), p.giving.close()); err != nil {
		return fmt.Errorf("close statements: %w", err)
	}
	return nil
}
