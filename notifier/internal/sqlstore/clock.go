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

// syncClock reads the server's clock, at some moment of the round trip. Where that is possible by the time carried on, that
// stays: a slow round trip moves nothing. Else it moves by as little as makes it possible.
func (s *Store) syncClock(ctx context.Context) error {
	if s.db.Engine != sqldb.PostgreSQL {
		return nil
	}
	before := s.clock.anchor.Load()
	sent := time.Now()
	var there time.Time
	if err := s.db.QueryRowContext(ctx, `SELECT clock_timestamp()`).Scan(&there); err != nil {
		return fmt.Errorf("read the database's clock: %w", err)
	}
	if after := before.read(sent, time.Now(), there); after != before {
		s.clock.anchor.CompareAndSwap(before, after) // another reading is as good
	}
	return nil
}

// read is the anchor after the server's clock was there, at some moment between sent and received.
func (a *anchor) read(sent, received, there time.Time) *anchor {
	if a == nil {
		return &anchor{local: sent.Add(received.Sub(sent) / 2), there: there}
	}
	earliest, latest := a.there.Add(sent.Sub(a.local)), a.there.Add(received.Sub(a.local))
	switch {
	case there.Before(earliest):
		return &anchor{local: sent, there: there}
	case there.After(latest):
		return &anchor{local: received, there: there}
	default:
		return a
	}
}
