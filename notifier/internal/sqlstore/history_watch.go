package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"hirewire.dev/notifier/internal/watch"
	"hirewire.dev/platform/sqldb"
)

var _ watch.Board = (*Store)(nil)

// Shared says whether several processes may be at work on the database.
func (s *Store) Shared() bool { return s.db.Engine == sqldb.PostgreSQL }

// Present implements watch.Board.
func (s *Store) Present(ctx context.Context, replica string, here bool, lately time.Duration) (elsewhere bool, err error) {
	now := s.Now()
	if here {
		err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO watch_presence (replica, seen_at) VALUES ($1, $2)
				ON CONFLICT (replica) DO UPDATE SET seen_at = excluded.seen_at`, replica, now)
			return err
		})
		if err != nil {
			return false, wrap("say that somebody watches", err)
		}
	}
	err = s.db.Reader().GetContext(ctx, &elsewhere, `SELECT EXISTS (SELECT 1 FROM watch_presence WHERE replica <> $1 AND seen_at > $2)`, replica, now.Add(-lately))
	return elsewhere, wrap("ask who watches", err)
}

// Tell implements watch.Board.
func (s *Store) Tell(ctx context.Context, replica string, seq int64, list []watch.Seen, keep time.Duration) error {
	body, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("tell of attempts: %w", err)
	}
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		now := s.Now()
		if _, err := tx.ExecContext(ctx, `INSERT INTO watch_tellings (replica, seq, told_at, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
			replica, seq, now, string(body)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM watch_tellings WHERE told_at < $1`, now.Add(-keep)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM watch_presence WHERE seen_at < $1`, now.Add(-keep))
		return err
	})
	return wrap("tell of attempts", err)
}

// Told implements watch.Board.
func (s *Store) Told(ctx context.Context, replica string, read map[string]int64) (list []watch.Seen, now map[string]int64, err error) {
	var w where
	w.and("replica <> ?", replica)
	w.and("told_at > ?", s.Now().Add(-toldWithin))
	body := `body`
	if read == nil {
		body = `''` // it is not looked at
	}
	for r, seq := range read {
		w.and("NOT (replica = ? AND seq <= ?)", r, seq)
	}
	var rows []struct {
		Replica string `db:"replica"`
		Seq     int64  `db:"seq"`
		Body    string `db:"body"`
	}
	if err := s.db.Reader().SelectContext(ctx, &rows, `SELECT replica, seq, `+body+` AS body FROM watch_tellings`+w.text()+` ORDER BY told_at, replica, seq`, w.args...); err != nil {
		return nil, nil, wrap("hear of attempts", err)
	}
	now = map[string]int64{}
	for _, row := range rows {
		now[row.Replica] = max(now[row.Replica], row.Seq)
		if read == nil {
			continue
		}
		var told []watch.Seen
		if err := json.Unmarshal([]byte(row.Body), &told); err != nil {
			return nil, nil, fmt.Errorf("hear of attempts: %w", err)
		}
		list = append(list, told...)
	}
	for r, seq := range read { // what fell silent is remembered
		now[r] = max(now[r], seq)
	}
	return list, now, nil
}

// toldWithin is how far back a telling is looked for: a reader that was away for longer has missed it.
const toldWithin = 10 * time.Second
