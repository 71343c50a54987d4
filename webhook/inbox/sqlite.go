package inbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// sqlite runs a prepared statement for each row within one transaction, or
// hands a batch over as JSON.
type sqlite struct {
	table
	insertion, claiming, finishing, giving statement
}

var _ backend = (*sqlite)(nil)

func newSQLite(db *sql.DB) *sqlite {
	prepare := func(text string) statement { return statement{db: db, text: text} }
	return &sqlite{
		table: table{db: db, toTime: func(t time.Time) any { return t.UnixMicro() }},
		// As on PostgreSQL, but row after row: so an earlier row of the batch is
		// seen, and it is held by this instance. Nothing is returned, since that
		// would cost a temporary table for each row; see insert.
		insertion: prepare(`
			INSERT INTO inbox_events (id, type, ordering_key, version, signature, sender_attempt, traceparent, status,
				last_error, body, sent_at, received_at, finished_at, due_at, lease, attempts, strikes, outcome, reference)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $8 = 'QUARANTINED' THEN $12 END, $14,
				CASE WHEN $16 AND ($3 = '' OR NOT EXISTS (
					SELECT 1 FROM inbox_events p
					WHERE p.ordering_key = $3 AND p.status IN ('PENDING', 'FAILED')
						AND (p.lease >> 32 <> $13 >> 32 OR p.due_at <= $15))) THEN $13 ELSE 0 END,
				0, 0, '', '')
			ON CONFLICT (id) DO NOTHING`),
		claiming: prepare(`
			UPDATE inbox_events SET lease = $3, due_at = $4
			WHERE seq IN (
				SELECT seq FROM inbox_events e
				WHERE ` + open + ` AND lease >= 0 AND due_at <= $1
					AND (ordering_key = '' OR NOT EXISTS (
						SELECT 1 FROM inbox_events p
						WHERE p.ordering_key = e.ordering_key AND p.seq < e.seq AND p.status IN ('PENDING', 'FAILED')))
				ORDER BY due_at, seq
				LIMIT $2
			)
			RETURNING ` + claimColumns),
		finishing: prepare(`
			WITH r AS (SELECT value->>0 AS seq, value->>1 AS lease, value->>2 AS status, value->>3 AS outcome,
				value->>4 AS reference FROM json_each($1))
			UPDATE inbox_events AS e
			SET status = r.status, outcome = r.outcome, reference = r.reference, attempts = e.attempts + 1,
				finished_at = $2, lease = 0
			FROM r
			WHERE e.seq = r.seq AND e.lease = r.lease
				AND (e.ordering_key = '' OR NOT EXISTS (
					SELECT 1 FROM inbox_events p
					WHERE p.ordering_key = e.ordering_key AND p.seq < e.seq AND p.status IN ('PENDING', 'FAILED')
						AND p.seq NOT IN (SELECT seq FROM r)))`),
		giving: prepare(`
			WITH r AS (SELECT value->>0 AS seq, value->>1 AS lease FROM json_each($1))
			UPDATE inbox_events AS e SET lease = 0, due_at = $2
			FROM r
			WHERE e.seq = r.seq AND e.lease = r.lease`),
	}
}

func (s *sqlite) insert(ctx context.Context, rows []*row, given int, lease int64, now, until time.Time) (_ map[string]inserted, err error) {
	if err := s.insertion.ready(ctx); err != nil {
		return nil, err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // after Commit it does nothing
	stmt := tx.StmtContext(ctx, s.insertion.stmt)
	defer stmt.Close()
	out := make(map[string]inserted, len(rows))
	var first int64
	for i, r := range rows {
		res, err := stmt.ExecContext(ctx, r.id, r.kind, r.subject.Key, r.subject.Version, r.signature, r.senderAttempt,
			r.traceparent, string(r.status), r.lastError, r.body, s.time(r.sentAt), s.time(r.receivedAt),
			lease, s.time(until), s.time(now), i < given && r.status == StatusPending)
		if err != nil {
			return nil, err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			if err != nil {
				return nil, err
			}
			continue
		}
		seq, err := res.LastInsertId()
		if err != nil {
			return nil, err
		}
		if len(out) == 0 {
			first = seq
		}
		out[r.id] = inserted{seq: seq, lease: lease}
	}
	if len(out) > 0 {
		if err := s.markFree(ctx, tx, first, out, now); err != nil {
			return nil, err
		}
	}
	return out, tx.Commit()
}

// markFree finds the rows from first on that did not come under the lease, and
// makes them due at once.
func (s *sqlite) markFree(ctx context.Context, tx *sql.Tx, first int64, out map[string]inserted, now time.Time) (err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id FROM inbox_events WHERE seq >= $1 AND lease = 0`, first)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	free := false
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		in := out[id]
		in.lease = 0
		out[id], free = in, true
	}
	if err := rows.Err(); err != nil || !free {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE inbox_events SET due_at = $1 WHERE seq >= $2 AND lease = 0`, s.time(now), first)
	return err
}

func (s *sqlite) claim(ctx context.Context, lease int64, now, until time.Time, limit int) ([]*item, error) {
	rows, err := s.claiming.query(ctx, s.time(now), limit, lease, s.time(until))
	if err != nil {
		return nil, err
	}
	items, err := scanItems(rows, lease, until)
	slices.SortFunc(items, bySeq)
	return items, err
}

func (s *sqlite) ready(ctx context.Context) error { return s.finishing.ready(ctx) }

func (s *sqlite) finish(ctx context.Context, tx *sql.Tx, items []*item, now time.Time) (int, error) {
	batch := make([][5]any, len(items))
	for i, it := range items {
		batch[i] = [5]any{
			it.seq, it.lease, it.event.status(), clean(it.event.Outcome, maxNote), clean(it.event.Reference, maxNote),
		}
	}
	text, err := json.Marshal(batch)
	if err != nil {
		return 0, err
	}
	return s.finishing.execIn(ctx, tx, string(text), s.time(now))
}

func (s *sqlite) giveBack(ctx context.Context, items []*item, now time.Time) error {
	batch := make([][2]int64, len(items))
	for i, it := range items {
		batch[i] = [2]int64{it.seq, it.lease}
	}
	text, err := json.Marshal(batch)
	if err != nil {
		return err
	}
	return s.giving.exec(ctx, string(text), s.time(now))
}

// analyze is not needed: SQLite's planner takes the partial indexes by itself.
func (s *sqlite) analyze(context.Context) error { return nil }

func (s *sqlite) close() error {
	if err := errors.Join(s.insertion.close(), s.claiming.close(), s.finishing.close(), s.giving.close()); err != nil {
		return fmt.Errorf("close statements: %w", err)
	}
	return nil
}
