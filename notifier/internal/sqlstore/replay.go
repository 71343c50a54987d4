package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/replay"
	"hirewire.dev/platform/sqldb"
)

var _ replay.Store = (*Store)(nil)

const replayColumns = `id, subscription_id, event_types, start_time, end_time, statuses, dry_run, rate_per_second, status, counted,
	total, done, error, counted_to, sent_to, end_position, lease, due_at, created_at, finished_at`

type replayRow struct {
	ID             string       `db:"id"`
	SubscriptionID string       `db:"subscription_id"`
	EventTypes     string       `db:"event_types"`
	StartTime      sql.NullTime `db:"start_time"`
	EndTime        sql.NullTime `db:"end_time"`
	Statuses       string       `db:"statuses"`
	DryRun         bool         `db:"dry_run"`
	RatePerSecond  int          `db:"rate_per_second"`
	Status         string       `db:"status"`
	Counted        bool         `db:"counted"`
	Total          int64        `db:"total"`
	Done           int64        `db:"done"`
	Error          string       `db:"error"`
	CountedTo      int64        `db:"counted_to"`
	SentTo         int64        `db:"sent_to"`
	EndPosition    int64        `db:"end_position"`
	Lease          int64        `db:"lease"`
	DueAt          time.Time    `db:"due_at"`
	CreatedAt      time.Time    `db:"created_at"`
	FinishedAt     sql.NullTime `db:"finished_at"`
}

func rowToReplay(row replayRow) (replay.Replay, error) {
	r := replay.Replay{
		ID: row.ID, SubscriptionID: row.SubscriptionID, Start: utc(row.StartTime), End: utc(row.EndTime), DryRun: row.DryRun,
		RatePerSec: row.RatePerSecond, Status: replay.Status(row.Status), Total: -1, Done: row.Done, Error: row.Error,
		CreatedAt: row.CreatedAt.UTC(), FinishedAt: utc(row.FinishedAt),
	}
	if row.Counted {
		r.Total = row.Total
	}
	if err := errors.Join(json.Unmarshal([]byte(row.EventTypes), &r.EventTypes), json.Unmarshal([]byte(row.Statuses), &r.Statuses)); err != nil {
		return r, fmt.Errorf("read replay %s: %w", row.ID, err)
	}
	return r, nil
}

// CreateReplay implements replay.Store.
func (s *Store) CreateReplay(ctx context.Context, r replay.Replay, req access.Request, e audit.Entry) (before *access.Request, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		// The lock on the feed puts retries of one request in order, and says where the past ends.
		position, err := lockFeed(ctx, tx)
		if err != nil {
			return err
		}
		if before, err = putRequest(ctx, tx, req); err != nil {
			return err
		}
		if before != nil {
			return errNothingChanged
		}
		if err := insertReplay(ctx, tx, r, position, s.Now()); err != nil {
			return err
		}
		return putAudit(ctx, tx, e)
	})
	return before, wrap("create replay", changeError(err))
}

func lockFeed(ctx context.Context, tx *sqldb.Tx) (position int64, err error) {
	err = tx.GetContext(ctx, &position, tx.SQL(`SELECT position FROM feed WHERE id = 1 FOR UPDATE`))
	return position, err
}

func insertReplay(ctx context.Context, tx *sqldb.Tx, r replay.Replay, end int64, now time.Time) error {
	types, err := json.Marshal(append([]string{}, r.EventTypes...))
	if err != nil {
		return err
	}
	statuses, err := json.Marshal(append([]delivery.Status{}, r.Statuses...))
	if err != nil {
		return err
	}
	_, err = tx.NamedExecContext(ctx, `INSERT INTO replays (`+replayColumns+`) VALUES (`+named(replayColumns)+`)`, replayRow{
		ID: r.ID, SubscriptionID: r.SubscriptionID, EventTypes: string(types), StartTime: nullTime(r.Start), EndTime: nullTime(r.End),
		Statuses: string(statuses), DryRun: r.DryRun, RatePerSecond: r.RatePerSec, Status: string(replay.Running), EndPosition: end,
		DueAt: now, CreatedAt: r.CreatedAt,
	})
	return err
}

// Replay implements replay.Store.
func (s *Store) Replay(ctx context.Context, id string) (replay.Replay, error) {
	var row replayRow
	err := s.db.Reader().GetContext(ctx, &row, `SELECT `+replayColumns+` FROM replays WHERE id = $1`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return replay.Replay{}, replay.ErrNotFound
	}
	if err != nil {
		return replay.Replay{}, wrap("read replay", err)
	}
	return rowToReplay(row)
}

// CancelReplay implements replay.Store.
func (s *Store) CancelReplay(ctx context.Context, id string, e audit.Entry) (replay.Replay, error) {
	err := s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE replays SET status = 'CANCELLED', lease = 0, finished_at = $2 WHERE id = $1 AND status = 'RUNNING'`, id, s.Now())
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errNothingChanged)
		}
		return putAudit(ctx, tx, e)
	})
	if err = changeError(err); err != nil {
		return replay.Replay{}, wrap("cancel replay", err)
	}
	return s.writtenReplay(ctx, id)
}

// writtenReplay reads what this process has just written.
func (s *Store) writtenReplay(ctx context.Context, id string) (replay.Replay, error) {
	var row replayRow
	err := s.db.GetContext(ctx, &row, `SELECT `+replayColumns+` FROM replays WHERE id = $1`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return replay.Replay{}, replay.ErrNotFound
	}
	if err != nil {
		return replay.Replay{}, wrap("read replay", err)
	}
	return rowToReplay(row)
}
