package sqlstore

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"hirewire.dev/platform/sqldb"
)

// clock tells the time that due times, leases and the like are written and compared in: one clock for all replicas, that
// no step of a process's own clock can move. On PostgreSQL it is the server's, read now and then and carried on by the
// monotonic clock; on SQLite, which one process uses, it is the process's at the start, carried on likewise.
type clock struct{ anchor atomic.Pointer[anchor] }

type anchor struct {
	local time.Time // with its monotonic reading
	there time.Time
}

// Now is the time by the database's clock, UTC, in microseconds.
func (s *Store) Now() time.Time {
	a := s.clock.anchor.Load()
	if a == nil {
		now := time.Now()
		s.clock.anchor.CompareAndSwap(nil, &anchor{local: now, there: now})
		a = s.clock.anchor.Load()
	}
	return a.there.Add(time.Since(a.local)).UTC().Truncate(time.Microsecond)
}

// maxRoundTrip is how long reading the clock may take for the reading to be good.
const maxRoundTrip = 50 * time.Millisecond

// syncClock reads the server's clock.
func (s *Store) syncClock(ctx context.Context) error {
	if s.db.Engine != sqldb.PostgreSQL {
		return nil
	}
	sent := time.Now()
	var there time.Time
	if err := s.db.QueryRowContext(ctx, `SELECT clock_timestamp()`).Scan(&there); err != nil {
		return fmt.Errorf("read the database's clock: %w", err)
	}
	if trip := time.Since(sent); trip <= maxRoundTrip || s.clock.anchor.Load() == nil {
		s.clock.anchor.Store(&anchor{local: sent.Add(trip / 2), there: there})
	}
	return nil
}
