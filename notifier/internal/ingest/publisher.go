package ingest

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/platform/groupcommit"
)

// Lanes takes over what was stored leased. delivery.Dispatcher does.
type Lanes interface {
	// Reserve grants places in the lanes and gives the token to lease with; 0 when there is none.
	Reserve(places []delivery.Places) (token int64)
	// Accept follows each Reserve, with what became of it.
	Accept(token int64, places []delivery.Places, leased []delivery.Leased, waiting []delivery.Waiting, unsure bool)
}

// Errors that Publish has, besides event.ErrConflict and those of the store.
var (
	// ErrBusy: too many calls wait. Nothing was stored.
	ErrBusy = errors.New("too many events are being published")
	// ErrStopped: the publisher has stopped. Nothing was stored.
	ErrStopped = errors.New("the publisher has stopped")
	// ErrUnsettled: the subscriptions change faster than events can be stored. Nothing was stored.
	ErrUnsettled = errors.New("subscriptions keep changing")
)

// Config says how a Publisher works.
type Config struct {
	// Schedule is the wait before each attempt, for subscriptions without their own; delivery.DefaultSchedule.
	Schedule []time.Duration
	// NewID makes the id of a delivery. Required.
	NewID func() string
}

// Publisher stores events. Calls that come while others commit are committed together.
type Publisher struct {
	conf      Config
	store     Store
	snapshots delivery.Snapshots
	lanes     Lanes
	log       *slog.Logger
	commits   *groupcommit.Committer[call, struct{}]
	fanout    fanout // of the one goroutine that commits
}

// call is what one caller publishes.
type call struct {
	events []event.Event
	sums   [][sha256.Size]byte
	only   string // the one subscription that is to get it; empty: all that want it
}

// maxCalls is how many calls share a commit at most, maxEvents how many events, maxDeliveries how many deliveries there may be of
// them, should all subscriptions want all.
const (
	maxCalls      = 512
	maxEvents     = 1000
	maxDeliveries = 20_000
)

// mostEvents is how many events may share a commit.
func mostEvents(s *snapshot) int { return min(maxEvents, max(maxDeliveries/max(len(s.Targets), 1), 1)) }

// New makes a Publisher.
func New(conf Config, store Store, snapshots delivery.Snapshots, lanes Lanes, log *slog.Logger) *Publisher {
	if len(conf.Schedule) == 0 {
		conf.Schedule = delivery.DefaultSchedule
	}
	p := &Publisher{conf: conf, store: store, snapshots: snapshots, lanes: lanes, log: log}
	p.commits = groupcommit.New(groupcommit.Config[call, struct{}]{Commit: p.commit, MaxBatch: maxCalls, MaxQueue: 8 * maxCalls})
	return p
}

// Run commits until ctx ends, then what waits, and returns nil.
func (p *Publisher) Run(ctx context.Context) error { return p.commits.Run(ctx) }

// Publish stores the events with a delivery for each subscription that wants them, in one transaction, and returns after its
// commit: all of the call or nothing. An event that is known with the same content is no harm; with other content it is a
// *event.ConflictError. After another error, or when ctx ends, the call may have been stored: publish it again. No id may
// occur twice in a call, and the events must not be changed afterwards.
func (p *Publisher) Publish(ctx context.Context, events []event.Event) error {
	return p.do(ctx, call{events: events})
}

// PublishTo is Publish of one event for one subscription alone, whether or not it wants such events.
func (p *Publisher) PublishTo(ctx context.Context, e event.Event, subscriptionID string) error {
	return p.do(ctx, call{events: []event.Event{e}, only: subscriptionID})
}

func (p *Publisher) do(ctx context.Context, c call) error {
	if len(c.events) == 0 {
		return nil
	}
	c.sums = make([][sha256.Size]byte, len(c.events)) // here, where callers work side by side
	for i := range c.events {
		c.sums[i] = c.events[i].Sum()
	}
	_, err := p.commits.Do(ctx, c)
	switch {
	case errors.Is(err, groupcommit.ErrBusy):
		return ErrBusy
	case errors.Is(err, groupcommit.ErrStopped):
		return ErrStopped
	default:
		return err
	}
}

// commit stores what has gathered, in as few transactions as it takes.
func (p *Publisher) commit(ctx context.Context, calls []call) []groupcommit.Result[struct{}] {
	results := make([]groupcommit.Result[struct{}], len(calls))
	for queue := split(calls, mostEvents(p.snapshots.Current())); len(queue) > 0; queue = queue[1:] {
		g := queue[0]
		errs := p.storeGroup(ctx, calls, g.calls)
		for i, n := range g.calls {
			results[n].Err = errs[i]
		}
		for _, f := range g.followers {
			if results[f.call].Err = results[f.leader].Err; results[f.call].Err != nil {
				queue = append(queue, group{calls: []int{f.call}}) // the leader may have failed for what else it had
			}
		}
	}
	return results
}

// storeGroup stores calls together; one by one when the store refuses something among them.
func (p *Publisher) storeGroup(ctx context.Context, calls []call, which []int) []error {
	errs := make([]error, len(which))
	err := p.storeCalls(ctx, calls, which, errs)
	if err == nil {
		return errs
	}
	for i, n := range which {
		if errs[i] = err; errors.Is(err, delivery.ErrRefused) && len(which) > 1 {
			errs[i] = p.storeGroup(ctx, calls, []int{n})[0]
		}
	}
	return errs
}

const (
	// commitTimeout bounds one try to commit, patience all tries. Callers with less give up by themselves.
	commitTimeout = 5 * time.Second
	patience      = 2 * time.Second
	// maxStale is how often the subscriptions may change under a batch.
	maxStale = 20
)

// storeCalls stores calls in one transaction. errs are those of single calls; another error is of them all.
func (p *Publisher) storeCalls(ctx context.Context, calls []call, which []int, errs []error) error {
	snapshot := p.snapshots.Current()
	for range maxStale {
		stored, err := p.storeOnce(ctx, calls, which, snapshot, errs)
		if stored || err != nil {
			return err
		}
		if snapshot, err = p.reload(ctx); err != nil {
			return err
		}
	}
	return ErrUnsettled
}

func (p *Publisher) reload(ctx context.Context) (*snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	return p.snapshots.Reload(ctx)
}

// storeOnce stores calls as the snapshot wants them; false if there is a newer one.
func (p *Publisher) storeOnce(ctx context.Context, calls []call, which []int, s *snapshot, errs []error) (stored bool, err error) {
	f := &p.fanout
	// Deferred: a panic must not leave places reserved, nor this batch in the next one.
	defer f.forget()
	f.build(calls, which, s, p.conf)
	f.batch.Token = p.lanes.Reserve(f.places)
	var leased []delivery.Leased
	var waiting []delivery.Waiting
	unsure := true
	defer func() { p.lanes.Accept(f.batch.Token, f.places, leased, waiting, unsure) }()
	f.batch.At = p.store.Now()
	f.grant()
	stored, maybe, err := p.persist(ctx, &f.batch)
	if stored {
		leased, waiting = f.outcome()
		for i := range f.batch.Calls {
			errs[i] = f.batch.Calls[i].Err
		}
	}
	unsure = maybe
	return stored, err
}

// persist stores a batch. When it is not known whether a try did, it tries again for a while: the next one looks first.
// unsure says that in the end it is not known.
func (p *Publisher) persist(ctx context.Context, b *Batch) (stored, unsure bool, err error) {
	b.Retried = false
	started := time.Now()
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		stored, err = p.tryStore(ctx, b)
		if err == nil {
			// A try that was cut off may still commit after this one has looked, if this one found another epoch.
			return stored, b.Retried && !stored, nil
		}
		if errors.Is(err, delivery.ErrRefused) || time.Since(started)+wait > patience {
			return false, !errors.Is(err, delivery.ErrRefused), err
		}
		b.Retried = true
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false, true, err
		case <-timer.C:
		}
	}
}

func (p *Publisher) tryStore(ctx context.Context, b *Batch) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	return p.store.Publish(ctx, b)
}
