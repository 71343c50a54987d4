// Package retention removes what is old: events, deliveries and attempts by whole days where the database has partitions, and
// payloads, which hold what is personal, earlier if that is wanted. Pending work is never removed, however old it is.
package retention

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Removed is what RemoveOld removed.
type Removed struct {
	Partitions int
	Rows       int64
}

// Store removes. All methods may run in several processes at once.
type Store interface {
	// MakePartitions makes the partitions of the next days, where there are any.
	MakePartitions(ctx context.Context) error
	// RemoveOld removes events received, and deliveries and attempts of deliveries made, before the time, in pieces: what has
	// been removed before an error stays removed.
	RemoveOld(ctx context.Context, before time.Time) (Removed, error)
	// ClearPayloads removes the payloads of events received before the time, in pieces.
	ClearPayloads(ctx context.Context, before time.Time) (int64, error)
	// Now is the time by the database's clock.
	Now() time.Time
}

// Config says how long things are kept.
type Config struct {
	// Retention is how long events, deliveries and attempts are kept.
	Retention time.Duration
	// PayloadRetention is how long payloads are.
	PayloadRetention time.Duration
	// Every is how often old things are looked for; 10 minutes.
	Every time.Duration
}

// Remover removes what is old.
type Remover struct {
	conf  Config
	store Store
	log   *slog.Logger
}

// New makes a Remover.
func New(conf Config, store Store, log *slog.Logger) *Remover {
	if conf.Every <= 0 {
		conf.Every = 10 * time.Minute
	}
	return &Remover{conf, store, log}
}

// Run removes, at once and now and then, until ctx ends. Replicas spread over the time: each waits a little more or less.
func (r *Remover) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		r.once(ctx)
		timer.Reset(r.conf.Every*3/4 + rand.N(r.conf.Every/2)) //nolint:gosec // Jitter is no secret.
	}
}

// once does all steps; one that fails does not keep the others from being done.
func (r *Remover) once(ctx context.Context) {
	now := r.store.Now()
	failed := func(what string, err error) bool {
		if err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "old things could not all be removed; it is tried again", "step", what, "error", err)
		}
		return err != nil
	}
	failed("make partitions", r.store.MakePartitions(ctx))
	if r.conf.PayloadRetention < r.conf.Retention {
		n, err := r.store.ClearPayloads(ctx, now.Add(-r.conf.PayloadRetention))
		if !failed("remove payloads", err) && n > 0 {
			r.log.InfoContext(ctx, "removed old payloads", "events", n)
		}
	}
	removed, err := r.store.RemoveOld(ctx, now.Add(-r.conf.Retention))
	if !failed("remove history", err) && removed != (Removed{}) {
		r.log.InfoContext(ctx, "removed old history", "partitions", removed.Partitions, "rows", removed.Rows)
	}
}
