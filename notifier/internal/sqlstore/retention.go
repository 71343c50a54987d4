package sqlstore

import (
	"context"
	"fmt"
	"time"

	"hirewire.dev/notifier/internal/retention"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
)

var _ retention.Store = (*Store)(nil)

const (
	// removeAtOnce is how many rows one statement removes: it holds SQLite's only lock for writing.
	removeAtOnce = 500
	// removePause lets others write in between.
	removePause = 5 * time.Millisecond
)

// RemoveOld implements retention.Store.
func (s *Store) RemoveOld(ctx context.Context, before time.Time) (r retention.Removed, err error) {
	if s.db.Engine == sqldb.PostgreSQL {
		if r.Partitions, r.Rows, err = s.dropPartitions(ctx, before); err != nil {
			return r, wrap("drop partitions", err)
		}
	}
	for _, p := range partitioned {
		table := p.table
		if s.db.Engine == sqldb.PostgreSQL {
			table += "_default"
		}
		n, err := s.deleteRows(ctx, p.table, table, before)
		r.Rows += n
		if err != nil {
			return r, fmt.Errorf("remove old %s: %w", p.table, err)
		}
	}
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM replays WHERE status <> 'RUNNING' AND finished_at < $1`, before)
		return err
	})
	return r, wrap("remove old replays", err)
}

// deleteRows removes old rows of a table, or of one partition of it, in small batches. What pending work refers to stays.
func (s *Store) deleteRows(ctx context.Context, kind, table string, before time.Time) (rows int64, err error) {
	if kind == "events" {
		return s.deleteEvents(ctx, table, before)
	}
	query := `DELETE FROM ` + table + ` WHERE id IN (SELECT id FROM ` + table + ` WHERE id < $1 ORDER BY id LIMIT $2)`
	if kind == "attempts" {
		query = `DELETE FROM ` + table + ` WHERE delivery_id IN (SELECT delivery_id FROM ` + table + ` WHERE delivery_id < $1
			AND delivery_id NOT IN (SELECT id FROM deliveries WHERE id < $1) ORDER BY delivery_id LIMIT $2)`
	}
	for {
		n, err := s.remove(ctx, query, id.Bound("dlv", before), removeAtOnce)
		rows += n
		if err != nil || n == 0 {
			return rows, err
		}
	}
}

// deleteEvents walks from the beginning of the feed to the first event that is young enough. Events have ids that their
// publishers made, so their age is not seen in them.
func (s *Store) deleteEvents(ctx context.Context, table string, before time.Time) (rows int64, err error) {
	walked := int64(0)
	for {
		to, more, err := s.oldUntil(ctx, table, walked, before)
		if err != nil || to == walked {
			return rows, err
		}
		n, err := s.remove(ctx, `DELETE FROM `+table+` WHERE position > $1 AND position <= $2 AND received_at < $3
			AND id NOT IN (SELECT event_id FROM deliveries WHERE position > $1 AND position <= $2)`, walked, to, before)
		rows += n
		if err != nil || !more {
			return rows, err
		}
		walked = to
	}
}

// oldUntil looks at the next events behind a position, and says up to which one they are older than the time; more says that
// all it looked at were.
func (s *Store) oldUntil(ctx context.Context, table string, after int64, before time.Time) (to int64, more bool, err error) {
	var list []struct {
		Position   int64     `db:"position"`
		ReceivedAt time.Time `db:"received_at"`
	}
	if err := s.db.Reader().SelectContext(ctx, &list, `SELECT position, received_at FROM `+table+` WHERE position > $1 ORDER BY position LIMIT $2`, after, removeAtOnce); err != nil {
		return after, false, err
	}
	to = after
	for _, e := range list {
		if !e.ReceivedAt.Before(before) {
			return to, false, nil
		}
		to = e.Position
	}
	return to, len(list) == removeAtOnce, nil
}

// remove runs a statement that removes some rows, and lets others go first before the next.
func (s *Store) remove(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		done, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err = done.RowsAffected()
		return err
	})
	if err != nil {
		return 0, err
	}
	timer := time.NewTimer(removePause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return n, ctx.Err()
	case <-timer.C:
		return n, nil
	}
}

// ClearPayloads implements retention.Store. It goes on from where no payload is left; an event that is pending keeps its
// payload, and keeps that place where it is.
func (s *Store) ClearPayloads(ctx context.Context, before time.Time) (cleared int64, err error) {
	var walked int64
	if err := s.db.GetContext(ctx, &walked, `SELECT cleared_to FROM retention WHERE id = 1`); err != nil {
		return 0, wrap("clear payloads", err)
	}
	whole := true
	for {
		to, more, err := s.oldUntil(ctx, "events", walked, before)
		if err != nil || to == walked {
			return cleared, wrap("clear payloads", err)
		}
		n, err := s.remove(ctx, `UPDATE events SET payload = NULL WHERE position > $1 AND position <= $2 AND received_at < $3 AND payload IS NOT NULL
			AND id NOT IN (SELECT event_id FROM deliveries WHERE position > $1 AND position <= $2)`, walked, to, before)
		cleared += n
		if err != nil {
			return cleared, wrap("clear payloads", err)
		}
		var left bool
		if err := s.db.Reader().GetContext(ctx, &left, `SELECT EXISTS (SELECT 1 FROM events WHERE position > $1 AND position <= $2 AND payload IS NOT NULL)`, walked, to); err != nil {
			return cleared, wrap("clear payloads", err)
		}
		if whole = whole && !left; whole {
			if _, err := s.remove(ctx, `UPDATE retention SET cleared_to = $1 WHERE id = 1 AND cleared_to < $1`, to); err != nil {
				return cleared, wrap("clear payloads", err)
			}
		}
		if !more {
			return cleared, nil
		}
		walked = to
	}
}
