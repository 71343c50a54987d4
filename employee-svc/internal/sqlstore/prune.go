package sqlstore

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"hirewire.dev/employee-svc/internal/employee"
)

const (
	// RequestsKept is how long a request id is remembered.
	RequestsKept  = 30 * 24 * time.Hour
	pruneInterval = 10 * time.Minute
	pruneBatch    = 500
	prunePause    = 50 * time.Millisecond
	pruneTimeout  = 10 * time.Second
)

const sqlPrune = `DELETE FROM requests WHERE (tenant, request_id) IN (
	SELECT tenant, request_id FROM requests WHERE created_at < $1 ORDER BY created_at LIMIT $2)`

// Prune forgets the request ids of creates before a time, a small batch after the other. It returns how many.
func (s *Store) Prune(ctx context.Context, before time.Time) (int, error) {
	total := 0
	for {
		limited, cancel := context.WithTimeout(ctx, pruneTimeout)
		res, err := s.db.ExecContext(limited, sqlPrune, employee.Moment(before), pruneBatch)
		cancel()
		if err != nil {
			return total, fmt.Errorf("prune request ids: %w", err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return total, fmt.Errorf("prune request ids: %w", err)
		}
		total += int(n)
		if n < pruneBatch {
			return total, nil
		}
		if err := pause(ctx, prunePause); err != nil {
			return total, err
		}
	}
}

// KeepPruned prunes until ctx ends.
func (s *Store) KeepPruned(ctx context.Context, log *slog.Logger) error {
	for pause(ctx, pruneInterval) == nil {
		switch n, err := s.Prune(ctx, time.Now().Add(-RequestsKept)); {
		case err != nil && ctx.Err() == nil:
			log.Warn("old request ids cannot be pruned", "error", err)
		case n > 0:
			log.Debug("old request ids pruned", "count", n)
		}
	}
	return nil
}

// pause waits; the error is that of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
