package inbox

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	pruneEvery = time.Hour
	pruneBatch = 500
	pruneRest  = 50 * time.Millisecond

	// analyzeFirst and analyzeLast are after how many rows the statistics are
	// refreshed, and four times as many, and so on: PostgreSQL plans by them, and
	// plans made for an empty table are poor. Later autovacuum has taken over.
	analyzeFirst = 100
	analyzeLast  = analyzeFirst << 14
)

// maintain prunes old messages and keeps the statistics fresh.
func (b *Inbox) maintain(ctx context.Context) {
	prune := time.NewTimer(0)
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-prune.C:
			if n, err := b.prune(ctx); err != nil && ctx.Err() == nil {
				b.config.Observe(Observation{What: Unavailable, Err: err})
			} else if n > 0 {
				b.config.Observe(Observation{What: Pruned, Count: n})
			}
			prune.Reset(jitter(pruneEvery))
		case <-b.grown:
			b.analyze(ctx)
		}
	}
}

// analyze refreshes the statistics once for each step of growth.
func (b *Inbox) analyze(ctx context.Context) {
	stored, at := b.stored.Load(), b.analyzeAt.Load()
	if stored < at {
		return
	}
	for at <= stored {
		at *= 4
	}
	if at > analyzeLast {
		at = math.MaxInt64
	}
	b.analyzeAt.Store(at)
	if err := b.backend.analyze(ctx); err != nil && ctx.Err() == nil {
		b.config.Observe(Observation{What: Unavailable, Err: err})
	}
}

// prune walks the oldest rows and removes those that are finished and past
// their retention, in small steps. Open work stays, however old.
func (b *Inbox) prune(ctx context.Context) (removed int, err error) {
	limit := now().Add(-b.config.Retention)
	after := int64(-1)
	for {
		old, last, err := b.oldRows(ctx, after, limit)
		if err != nil {
			return removed, fmt.Errorf("prune: %w", err)
		}
		if len(old) > 0 {
			n, err := b.remove(ctx, old)
			if err != nil {
				return removed, fmt.Errorf("prune: %w", err)
			}
			removed += n
		}
		if last < 0 || !sleep(ctx, pruneRest) {
			return removed, nil
		}
		after = last
	}
}

func (b *Inbox) remove(ctx context.Context, old []int64) (int, error) {
	marks, args := placeholders(old, 1)
	//nolint:gosec // only placeholders are put together.
	query := `DELETE FROM inbox_events WHERE seq IN (` + marks + `) AND NOT (` + open + `)`
	res, err := b.config.DB.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// oldRows reads the next rows by age. last is -1 when the walk has come to
// rows that are young enough, or to the end.
func (b *Inbox) oldRows(ctx context.Context, after int64, limit time.Time) (old []int64, last int64, err error) {
	rows, err := b.config.DB.QueryContext(ctx,
		`SELECT seq, received_at, status FROM inbox_events WHERE seq > $1 ORDER BY seq LIMIT $2`, after, pruneBatch)
	if err != nil {
		return nil, -1, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	n := 0
	for rows.Next() {
		var seq int64
		var received time.Time
		var status Status
		if err := rows.Scan(&seq, timestamp{&received}, &status); err != nil {
			return nil, -1, err
		}
		if !received.Before(limit) {
			return old, -1, nil
		}
		if status != StatusPending && status != StatusFailed {
			old = append(old, seq)
		}
		n, last = n+1, seq
	}
	if n < pruneBatch {
		last = -1
	}
	return old, last, rows.Err()
}

// Backlog is what is not done.
type Backlog struct {
	// Pending are open and not yet failed, Failed are open and failed at least
	// once, Quarantined need a person.
	Pending, Failed, Quarantined int64
	// Oldest is when the oldest open one arrived; zero when none is open.
	Oldest time.Time
}

// Backlog counts, by the small indexes, what is not done. For metrics and
// readiness.
func (b *Inbox) Backlog(ctx context.Context) (Backlog, error) {
	var out Backlog
	err := b.config.Reader.QueryRowContext(ctx, `
		SELECT count(CASE WHEN status = 'PENDING' THEN 1 END), count(CASE WHEN status = 'FAILED' THEN 1 END), min(received_at)
		FROM inbox_events WHERE `+open).Scan(&out.Pending, &out.Failed, timestamp{&out.Oldest})
	if err != nil {
		return out, fmt.Errorf("count backlog: %w", err)
	}
	err = b.config.Reader.QueryRowContext(ctx, `
		SELECT count(*) FROM inbox_events
		WHERE status = 'QUARANTINED' AND status IN ('FAILED', 'IGNORED', 'QUARANTINED')`).Scan(&out.Quarantined)
	if err != nil {
		return out, fmt.Errorf("count backlog: %w", err)
	}
	return out, nil
}
