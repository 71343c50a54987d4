package inbox

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"time"

	"hirewire.dev/webhook"
)

// Dialect is the kind of database.
type Dialect string

// The databases that the inbox speaks to.
const (
	PostgreSQL Dialect = "postgres"
	SQLite     Dialect = "sqlite"
)

// Config configures an [Inbox]. DB, Dialect and one of Handle and HandleBatch
// are needed; every other zero value is a good default.
type Config struct {
	// DB is where the table inbox_events is, see [Migrations]. On SQLite it
	// should be a pool of one connection, with _txlock=immediate, WAL and
	// synchronous=FULL; times are kept as integers of microseconds.
	DB      *sql.DB
	Dialect Dialect
	// Reader answers [Inbox.List] and [Inbox.Get]. Default DB. On SQLite a
	// second, read-only pool keeps reads out of the writers' way.
	Reader *sql.DB

	// Handle or HandleBatch applies events.
	Handle      Handler
	HandleBatch BatchHandler
	// Prepare, if set, sees a batch before its transaction begins: the place
	// for calls to other services. See [Event.Fail] and [Event.Note].
	Prepare func(ctx context.Context, events []*Event)
	// Subject tells what an event is about. Its error, or a panic, quarantines
	// the event on arrival. Default: no key, so no order.
	Subject func(webhook.Event) (Subject, error)

	// Workers is how many transactions apply events at the same time. Default 2;
	// on SQLite, where only their Prepare can overlap, 1.
	Workers int
	// MaxBatch is how many events one transaction stores or applies. Default 256.
	MaxBatch int
	// Linger is how long a worker that is busy waits for a fuller batch. Default
	// 10 ms.
	Linger time.Duration
	// MaxQueued is how many committed events, and MaxQueuedBytes how much of
	// them, wait in memory for a worker; more wait in the table. Defaults 4096
	// and 32 MiB.
	MaxQueued      int
	MaxQueuedBytes int64
	// MaxWaiting is how many arrivals, and MaxWaitingBytes how much of their
	// bodies, may wait for their commit. Beyond, Accept fails with [ErrFull].
	// Defaults 4096 and 64 MiB.
	MaxWaiting      int
	MaxWaitingBytes int64
	// Lease is how long a crashed process keeps others from its events. Default
	// 15 s.
	Lease time.Duration
	// HandlerTimeout bounds Prepare, and the transaction of a batch; a batch is
	// as small as it takes. Default 10 s, at most two thirds of Lease, so that
	// who works does not lose it.
	HandlerTimeout time.Duration
	// CommitTimeout bounds the commit of arrivals. Default 5 s.
	CommitTimeout time.Duration
	// Poll is how often the table is asked for due events when nothing else
	// calls for it. Default 1 s.
	Poll time.Duration
	// MaxAttempts is how often an event may fail before it is quarantined. Of
	// tries that take too long one in ten counts. Default 5.
	MaxAttempts int
	// Backoff is the wait after the n-th failed attempt, from 1. Default 1 s,
	// 5 s, 30 s and then 2 min, each ±20 %.
	Backoff func(attempt int) time.Duration
	// Retention is how long finished messages, and so their ids, are kept. It
	// must be longer than any sender retries: the notifier takes schedules of up
	// to 30 days, and waits up to a fifth longer. Default 40 days, at least 7.
	Retention time.Duration
	// DrainTimeout is how long Run, when its context is done, goes on with what
	// it has in memory; the rest it gives back. Default 5 s.
	DrainTimeout time.Duration

	// Observe, if set, is told what happens. It is called concurrently and must
	// not block.
	Observe func(Observation)
}

const minRetention = 7 * 24 * time.Hour

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.DB == nil:
		return c, errors.New("an inbox needs a database")
	case c.Dialect != PostgreSQL && c.Dialect != SQLite:
		return c, errors.New("an inbox needs a dialect: postgres or sqlite")
	case (c.Handle == nil) == (c.HandleBatch == nil):
		return c, errors.New("an inbox needs one handler, for events or for batches")
	case min(c.Workers, c.MaxBatch, c.MaxQueued, c.MaxWaiting, c.MaxAttempts) < 0,
		min(c.Lease, c.HandlerTimeout, c.CommitTimeout, c.Poll, c.Linger, c.DrainTimeout) < 0,
		min(c.MaxWaitingBytes, c.MaxQueuedBytes) < 0:
		return c, errors.New("a limit of the inbox is negative")
	case c.Retention != 0 && c.Retention < minRetention:
		return c, errors.New("the retention is shorter than a sender may retry: at least 7 days")
	case c.Lease != 0 && c.HandlerTimeout > c.Lease*2/3:
		return c, errors.New("the handler's timeout is more than two thirds of the lease")
	}
	if c.Reader == nil {
		c.Reader = c.DB
	}
	if c.HandleBatch == nil {
		c.HandleBatch = each(c.Handle)
	}
	if c.Subject == nil {
		c.Subject = func(webhook.Event) (Subject, error) { return Subject{}, nil }
	}
	if c.Dialect == SQLite {
		orDefault(&c.Workers, 1)
	}
	orDefault(&c.Workers, 2)
	orDefault(&c.MaxBatch, 256)
	orDefault(&c.MaxQueued, 4096)
	orDefault(&c.MaxQueuedBytes, 32<<20)
	orDefault(&c.MaxWaiting, 4096)
	orDefault(&c.MaxWaitingBytes, 64<<20)
	orDefault(&c.Lease, max(15*time.Second, c.HandlerTimeout*3/2))
	orDefault(&c.HandlerTimeout, min(10*time.Second, c.Lease*2/3))
	orDefault(&c.CommitTimeout, 5*time.Second)
	orDefault(&c.Poll, time.Second)
	orDefault(&c.Linger, 10*time.Millisecond)
	orDefault(&c.MaxAttempts, 5)
	orDefault(&c.Retention, 40*24*time.Hour)
	orDefault(&c.DrainTimeout, 5*time.Second)
	if c.Backoff == nil {
		c.Backoff = defaultBackoff
	}
	if c.Observe == nil {
		c.Observe = func(Observation) {}
	}
	return c, nil
}

func orDefault[T int | int64 | time.Duration](value *T, fallback T) {
	if *value == 0 {
		*value = fallback
	}
}

// each makes a batch handler of a handler. Ignored is a result, not an error.
func each(handle Handler) BatchHandler {
	return func(ctx context.Context, tx *sql.Tx, events []*Event) error {
		for _, e := range events {
			err := handle(ctx, tx, e)
			if errors.Is(err, ErrIgnore) {
				e.ignored = true
				continue
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func defaultBackoff(attempt int) time.Duration {
	waits := []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute}
	return jitter(waits[min(max(attempt, 1), len(waits))-1])
}

// transientBackoff stays short, so that work goes on soon after an outage.
func transientBackoff(attempt int) time.Duration {
	return jitter(min(time.Second<<min(max(attempt-1, 0), 5), 15*time.Second))
}

// jitter spreads d by a fifth to either side.
func jitter(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1) //nolint:gosec // it spreads load and keeps no secret.
}
