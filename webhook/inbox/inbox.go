package inbox

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"hirewire.dev/webhook"
)

// Inbox is a durable webhook.Store and the workers behind it. Make one with
// [New] and keep [Inbox.Run] running; Accept works only while it does.
type Inbox struct {
	config  Config
	backend backend
	table   *table

	// instance is the upper half of every lease that this process takes.
	instance int64
	leases   atomic.Int64

	arrivals chan *arrival
	waiting  atomic.Int64 // bytes of bodies in arrivals

	lanes  []*lane
	seed   maphash.Seed
	queued atomic.Int64 // items in all lanes, with room that is reserved
	held   atomic.Int64 // bytes of the items in all lanes
	// wake tells the claimer that there may be something to claim.
	wake chan struct{}
	// hungry is set when the claimer stopped for lack of room.
	hungry atomic.Bool

	stored atomic.Int64 // rows inserted, for the planner's statistics
	// grown tells maintain that stored has passed analyzeAt.
	grown     chan struct{}
	analyzeAt atomic.Int64

	closing   chan struct{}
	closeOnce sync.Once
	accepting sync.RWMutex // held for reading while an arrival is put in line
	closed    bool         // guarded by accepting
}

var _ webhook.Store = (*Inbox)(nil)

// New checks the configuration. The database is not asked before Run or a call.
func New(config Config) (*Inbox, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Inbox{
		config:   config,
		instance: rand.Int64N(1<<31-1) + 1, //nolint:gosec // it tells processes apart and keeps no secret.
		arrivals: make(chan *arrival, config.MaxWaiting),
		seed:     maphash.MakeSeed(),
		wake:     make(chan struct{}, 1),
		grown:    make(chan struct{}, 1),
		closing:  make(chan struct{}),
	}
	switch config.Dialect {
	case PostgreSQL:
		p := newPostgres(config.DB)
		b.backend, b.table = p, &p.table
	case SQLite:
		s := newSQLite(config.DB)
		b.backend, b.table = s, &s.table
	}
	b.analyzeAt.Store(analyzeFirst)
	for range config.Workers {
		b.lanes = append(b.lanes, newLane(config.MaxBatch))
	}
	return b, nil
}

// Run takes arrivals in and works on them until ctx is done. Then it refuses
// new arrivals, commits those in line, works on what it has in memory for up to
// DrainTimeout, gives the rest back to the table and returns nil. So first stop
// what delivers, then end ctx, then close the database. It may run only once.
func (b *Inbox) Run(ctx context.Context) error {
	// What is begun is finished after ctx is done, each within a bound.
	lasting := context.WithoutCancel(ctx)
	work, cancelWork := context.WithCancel(lasting)
	defer cancelWork()
	commit, cancelCommit := context.WithCancel(lasting)
	defer cancelCommit()

	var committer, claimer, workers sync.WaitGroup
	committer.Go(func() { b.commitArrivals(commit) })
	claimer.Go(func() { b.claimDue(ctx, work) })
	claimer.Go(func() { b.maintain(ctx) })
	for _, l := range b.lanes {
		workers.Go(func() { b.work(work, l) })
	}

	<-ctx.Done()
	endWork := time.AfterFunc(b.config.DrainTimeout, cancelWork)
	defer endWork.Stop()
	endCommit := time.AfterFunc(b.config.DrainTimeout+b.config.CommitTimeout, cancelCommit)
	defer endCommit.Stop()
	b.close()
	committer.Wait()
	claimer.Wait()
	for _, l := range b.lanes {
		l.close()
	}
	workers.Wait()
	return b.leave(lasting)
}

// leave gives back what no worker came to.
func (b *Inbox) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.config.CommitTimeout)
	defer cancel()
	var rest []*item
	for _, l := range b.lanes {
		rest = append(rest, l.takeAll()...)
	}
	if len(rest) > 0 {
		if err := b.backend.giveBack(ctx, rest, now()); err != nil {
			// Their leases end by themselves.
			b.config.Observe(Observation{What: Unavailable, Err: err})
		}
	}
	return b.backend.close()
}

// close makes Accept refuse, and ends the committer after what is in line.
func (b *Inbox) close() {
	b.closeOnce.Do(func() {
		b.accepting.Lock()
		b.closed = true
		b.accepting.Unlock()
		close(b.closing)
	})
}

// newLease is a token that no other claim has: the instance and a counter.
func (b *Inbox) newLease() int64 { return b.instance<<32 | b.leases.Add(1)&0xffffffff }

// enqueueWork puts an item, for which room is reserved, in line for its worker.
func (b *Inbox) enqueueWork(it *item) {
	b.held.Add(it.size())
	b.laneOf(it.event).put(it)
}

// laneOf spreads keys over the workers; events without a key go by their id.
func (b *Inbox) laneOf(e *Event) *lane {
	key := e.Subject.Key
	if key == "" {
		key = e.ID
	}
	return b.lanes[maphash.String(b.seed, key)%uint64(len(b.lanes))]
}

// nudge wakes the claimer.
func (b *Inbox) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// now is the time as the table keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Accept stores a delivery and returns nil once it is committed, or was before;
// of one that Config.Subject refused, webhook.ErrQuarantined instead.
// It is the webhook.Store of a receiver. Errors: [ErrFull], [ErrClosed], the
// context's, and the database's; after them the delivery may be stored or not,
// and sending it again is right.
func (b *Inbox) Accept(ctx context.Context, d webhook.Delivery) error {
	if !webhook.ValidID(d.ID) {
		return fmt.Errorf("accept: %w", webhook.ReasonMalformedID)
	}
	a := &arrival{row: b.toRow(d), done: make(chan error, 1)}
	size := int64(len(d.Body)) + 1
	if b.waiting.Add(size) > b.config.MaxWaitingBytes {
		b.waiting.Add(-size)
		return ErrFull
	}
	if err := b.enqueue(a); err != nil {
		b.waiting.Add(-size)
		return err
	}
	select {
	case err := <-a.done:
		if err == nil && a.row.problem != nil {
			err = fmt.Errorf("%w: %w", webhook.ErrQuarantined, a.row.problem)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Inbox) enqueue(a *arrival) error {
	b.accepting.RLock()
	defer b.accepting.RUnlock()
	if b.closed {
		return ErrClosed
	}
	select {
	case b.arrivals <- a:
		return nil
	default:
		return ErrFull
	}
}

// toRow decides what a delivery is on arrival: work, or for quarantine.
func (b *Inbox) toRow(d webhook.Delivery) *row {
	r := &row{
		id: d.ID, kind: d.Event.Type, signature: string(d.Kind), senderAttempt: d.Attempt, traceparent: d.Traceparent,
		status: StatusPending, body: d.Body,
		sentAt: d.SentAt.UTC().Truncate(time.Microsecond), receivedAt: d.ReceivedAt.UTC().Truncate(time.Microsecond),
	}
	if r.body == nil {
		r.body = []byte{}
	}
	problem := d.Problem
	if problem == nil {
		problem = recovered(func() (err error) {
			r.subject, err = b.config.Subject(d.Event)
			return err
		})
		if problem == nil && !validKey(r.subject.Key) {
			problem = errors.New("the key of the event is no key")
		}
		r.problem = problem
	}
	if problem != nil {
		r.status, r.subject, r.lastError = StatusQuarantined, Subject{}, clean(problem.Error(), maxError)
		return r
	}
	r.event = &Event{
		Event: d.Event, Subject: r.subject, SentAt: r.sentAt, ReceivedAt: r.receivedAt, Traceparent: d.Traceparent,
	}
	return r
}
