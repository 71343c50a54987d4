package outbox

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Config is what a Relay is made of. Zero durations and counts take the defaults.
type Config struct {
	Store     Store     // required
	Publisher Publisher // required
	Handoff   *Handoff  // required; no other relay may use it
	Observer  Observer  // required
	Logger    *slog.Logger

	// Lease is how long a relay may be silent before others take over what it holds; default 15 s.
	Lease time.Duration
	// PublishTimeout bounds a call to the notifier; default 8 s. Below Lease.
	PublishTimeout time.Duration
	// Poll is how often free messages are looked for without any sign of them, ±20 %; default 1 s.
	Poll time.Duration
	// Batch is the most messages in a call; default 500, at least 2.
	Batch int
	// BatchBytes is the most bytes of bodies in a call; default 768 KiB.
	BatchBytes int
}

const (
	firstBackoff   = 100 * time.Millisecond
	maxBackoff     = 2 * time.Second
	removeInterval = 30 * time.Millisecond
	depthInterval  = 2 * time.Second
	claimRest      = 10 * time.Millisecond // between claims that find nothing
	stopTimeout    = 1500 * time.Millisecond
	storeTimeout   = 5 * time.Second
)

// Relay publishes what is stored. Several may work on one store.
type Relay struct {
	cfg     Config
	log     *slog.Logger
	remover remover

	// Of the goroutine that publishes:
	lease    int64
	claimed  []Message
	limit    int                 // of the next batch; halved by each failure
	failures int                 // in a row
	worked   time.Time           // when the notifier last took or refused something
	broke    map[int64]time.Time // when which message last broke it
	warned   time.Time           // when it was last said that messages are early
	rested   time.Time           // when a claim last found nothing
	poll     time.Time           // when to claim without any sign
}

// New makes a relay; Run runs it.
func New(cfg Config) *Relay {
	cfg.Lease = cmp.Or(cfg.Lease, 15*time.Second)
	cfg.PublishTimeout = cmp.Or(cfg.PublishTimeout, 8*time.Second)
	cfg.Poll = cmp.Or(cfg.Poll, time.Second)
	cfg.Batch = cmp.Or(cfg.Batch, 500)
	cfg.BatchBytes = cmp.Or(cfg.BatchBytes, 768<<10)
	r := &Relay{cfg: cfg, log: cfg.Logger, limit: cfg.Batch, broke: make(map[int64]time.Time)}
	if r.log == nil {
		r.log = slog.Default()
	}
	r.remover = remover{relay: r, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	return r
}

// Run publishes until ctx ends. Then it lets a call under way finish for a moment, and gives up what it holds at once, so
// that nobody waits for its leases to end.
func (r *Relay) Run(ctx context.Context) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { r.remover.run(background) })
	wg.Go(func() { r.watchDepth(ctx) })
	r.newLease()
	r.publishAll(ctx)
	r.giveUp(ctx)
	cancel()
	wg.Wait()
	return nil
}

func (r *Relay) publishAll(ctx context.Context) {
	for ctx.Err() == nil {
		batch := r.next(ctx)
		if len(batch) == 0 {
			r.idle(ctx)
			continue
		}
		if err := r.send(ctx, batch); err != nil {
			r.failed(ctx, err)
			continue
		}
		r.recovered()
	}
}

// newLease begins a term: what was leased before is none of ours any more.
func (r *Relay) newLease() {
	r.lease = rand.Int64N(1<<62) + 1 //nolint:gosec // Unique is enough; nothing depends on its being unguessable.
	if r.failures == 0 {
		r.cfg.Handoff.open(r.lease, r.cfg.Lease)
	}
}

// next is the batch to publish now: half of it for what was claimed, if there is so much of both.
func (r *Relay) next(ctx context.Context) []Message {
	r.claimIfWanted(ctx)
	n := fit(r.claimed, max(r.limit/2, 1), r.cfg.BatchBytes/2)
	batch := slices.Clone(r.claimed[:n])
	size := r.cfg.BatchBytes
	for i := range batch {
		size -= len(batch[i].Body)
	}
	if r.limit > n {
		batch = r.cfg.Handoff.take(batch, r.limit-n, size)
	}
	more := 0
	if room := r.limit - len(batch); room > 0 {
		for _, m := range batch[n:] {
			size -= len(m.Body)
		}
		more = fit(r.claimed[n:], room, size)
		batch = append(batch, r.claimed[n:n+more]...)
	}
	r.claimed = r.claimed[n+more:]
	return r.renewed(ctx, batch)
}

// idle waits until there is something to do.
func (r *Relay) idle(ctx context.Context) {
	wait := time.Until(r.poll)
	if r.cfg.Handoff.claimPending() {
		wait = min(wait, claimRest-time.Since(r.rested))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-r.cfg.Handoff.wake:
	case <-timer.C:
		if r.failures > 0 && !time.Now().Before(r.poll) { // nothing is left to try the notifier with
			r.recovered()
		}
	}
}

// recovered notes that the notifier works.
func (r *Relay) recovered() {
	r.limit = min(2*r.limit, r.cfg.Batch)
	if r.failures == 0 {
		return
	}
	r.log.Info("the notifier takes events again", "failures", r.failures)
	r.failures = 0
	r.cfg.Handoff.open(r.lease, r.cfg.Lease)
	r.cfg.Handoff.claimAgain()
}

// failed gives everything back, so that any relay that reaches the notifier can have it, and waits.
func (r *Relay) failed(ctx context.Context, err error) {
	if r.failures == 0 {
		r.log.Warn("the notifier takes no events; they wait in the outbox", "error", err)
	}
	r.failures++
	r.limit = max(r.limit/2, 1) // in case it was too much
	r.giveUp(ctx)
	r.newLease()
	sleep(ctx, jitter(min(firstBackoff<<min(r.failures-1, 10), maxBackoff), 0.5))
}

func (r *Relay) watchDepth(ctx context.Context) {
	for {
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, storeTimeout)
		depth, err := r.cfg.Store.Depth(limited)
		cancel()
		if err == nil {
			r.cfg.Observer.Depth(depth)
		}
		// A long queue takes long to count: at most a twentieth of the time goes into it.
		if sleep(ctx, max(depthInterval, 20*time.Since(began))); ctx.Err() != nil {
			return
		}
	}
}

// jitter is d, more or less by up to the share.
func jitter(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 - share + 2*share*rand.Float64())) //nolint:gosec // Spreads load; nothing depends on its being unguessable.
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
