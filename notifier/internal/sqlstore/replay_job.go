package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/replay"
	"hirewire.dev/platform/sqldb"
)

// LeaseReplay implements replay.Store.
func (s *Store) LeaseReplay(ctx context.Context, token int64, lease time.Duration) (job *replay.Job, next time.Duration, err error) {
	// None is due most of the time: see first, without the write lock.
	var due []time.Time
	if err := s.db.Reader().SelectContext(ctx, &due, `SELECT due_at FROM replays WHERE status = 'RUNNING' ORDER BY due_at LIMIT 1`); err != nil {
		return nil, 0, wrap("look for replays", err)
	}
	if len(due) == 0 {
		return nil, 0, nil
	}
	if wait := due[0].Sub(s.Now()); wait > 0 {
		return nil, wait, nil
	}
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		job = nil
		now := s.Now()
		var row replayRow
		err := tx.GetContext(ctx, &row, tx.SQL(`SELECT `+replayColumns+` FROM replays WHERE status = 'RUNNING' AND due_at <= $1
			ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED`), now)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE replays SET lease = $2, due_at = $3 WHERE id = $1`, row.ID, token, now.Add(lease)); err != nil {
			return err
		}
		r, err := rowToReplay(row)
		job = &replay.Job{
			Replay: r, Token: token, DueAt: row.DueAt.UTC(), Counted: row.Counted, Counting: row.Total,
			CountedTo: row.CountedTo, SentTo: row.SentTo, EndPosition: row.EndPosition,
		}
		return err
	})
	if err != nil {
		return nil, 0, wrap("lease replay", err)
	}
	return job, 0, nil
}

// scanWindow is how many positions one look goes on at most, so that it ends soon even where little matches.
const scanWindow = 20_000

// ReplayEvents implements replay.Store.
func (s *Store) ReplayEvents(ctx context.Context, j *replay.Job, after int64, limit int, payloads bool) (events []*event.Event, to int64, err error) {
	payload := `NULL`
	if payloads {
		payload = `payload`
	}
	end := min(after+scanWindow, j.EndPosition)
	var w where
	w.and("position > ?", after)
	w.and("position <= ?", end)
	w.and("payload IS NOT NULL")
	if !j.Start.IsZero() {
		w.and("occurred_at >= ?", j.Start)
	}
	if !j.End.IsZero() {
		w.and("occurred_at < ?", j.End)
	}
	rows, err := s.db.Reader().QueryxContext(ctx, `SELECT id, position, type, employee_id, version, occurred_at, `+payload+` FROM events`+
		w.text()+` ORDER BY position LIMIT `+w.arg(limit), w.args...)
	if err != nil {
		return nil, 0, wrap("read events to replay", err)
	}
	defer rows.Close()
	for rows.Next() {
		e := new(event.Event)
		if err := rows.Scan(&e.ID, &e.Position, &e.Type, &e.EmployeeID, &e.Version, &e.OccurredAt, &e.Payload); err != nil {
			return nil, 0, wrap("read events to replay", err)
		}
		e.OccurredAt = e.OccurredAt.UTC()
		events = append(events, e)
	}
	if err := rows.Err(); err != nil {
		return nil, 0, wrap("read events to replay", err)
	}
	if to = end; len(events) == limit {
		to = events[limit-1].Position
	}
	return events, to, nil
}

// DeliveryEnds implements replay.Store.
func (s *Store) DeliveryEnds(ctx context.Context, j *replay.Job, events []*event.Event) (map[string]delivery.Status, error) {
	ended, err := endedOf(ctx, s.db.Reader(), j.SubscriptionID, events)
	if err != nil {
		return nil, wrap("read how deliveries ended", err)
	}
	ends := make(map[string]delivery.Status, len(ended))
	for _, d := range ended {
		ends[d.EventID] = delivery.Status(d.Status)
	}
	return ends, nil
}

// Count implements replay.Store.
func (s *Store) Count(ctx context.Context, j *replay.Job) error {
	err := s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		now := s.Now()
		status, finished := replay.Running, sql.NullTime{}
		if j.Counted && j.DryRun {
			status, finished = replay.Succeeded, sql.NullTime{Time: now, Valid: true}
		}
		return fenced(tx.ExecContext(ctx, `UPDATE replays SET counted = $3, total = $4, counted_to = $5, status = $6, finished_at = $7, due_at = $8, lease = 0
			WHERE id = $1 AND lease = $2 AND status = 'RUNNING'`, j.ID, j.Token, j.Counted, j.Counting, j.CountedTo, string(status), finished, now))
	})
	return wrap("count replay", err)
}

// Fail implements replay.Store.
func (s *Store) Fail(ctx context.Context, j *replay.Job, reason string) error {
	err := s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		return fenced(tx.ExecContext(ctx, `UPDATE replays SET status = 'FAILED', error = $3, finished_at = $4, lease = 0
			WHERE id = $1 AND lease = $2 AND status = 'RUNNING'`, j.ID, j.Token, reason, s.Now()))
	})
	return wrap("fail replay", err)
}

// fenced fails if a statement that is guarded by a lease found nothing.
func fenced(done sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return replay.ErrLost
}
