package delivery

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"hirewire.dev/notifier/internal/subscription"
)

// Config says how a Dispatcher works. Zero fields take the defaults.
type Config struct {
	// Replica names this process among those that share the database. Required.
	Replica string
	// Schedule is the wait before each attempt, for subscriptions without their own; DefaultSchedule.
	Schedule []time.Duration
	// MaxInFlight bounds the attempts under way at once, of all subscriptions together; 1024.
	MaxInFlight int
	// MaxHeld bounds the deliveries held in memory; 32768.
	MaxHeld int
	// LeaseTTL is for how long a replica may be silent until the others take over what it has leased; 10 s.
	LeaseTTL time.Duration
	// PollEvery is how often the store is asked for what nobody told of; 1 s. It is the safety net.
	PollEvery time.Duration
	// FlushEvery is how long finished attempts are gathered when many end; 40 ms. A lone one is stored at once.
	FlushEvery time.Duration
	// StopTimeout is how long attempts under way may take when the dispatcher stops; 6 s. Storing how they ended may take half
	// as long again.
	StopTimeout time.Duration
}

func (c *Config) setDefaults() {
	if len(c.Schedule) == 0 {
		c.Schedule = DefaultSchedule
	}
	set(&c.MaxInFlight, 1024)
	set(&c.MaxHeld, 32768)
	set(&c.LeaseTTL, 10*time.Second)
	set(&c.PollEvery, time.Second)
	set(&c.FlushEvery, 40*time.Millisecond)
	set(&c.StopTimeout, 6*time.Second)
}

func set[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// Dispatcher sends what is due. Each subscription has a lane of its own, with its own limits; the lanes that can send do so
// in turn. Deliveries come from ingest, which stores them leased and hands them over (Reserve, Accept), or are claimed from
// the store: retries, what was held, what another replica left behind.
//
// Next to one goroutine for each attempt under way there is one for each of: claiming, storing what has ended, keeping the
// lease, timers, and the subscriptions' changes.
type Dispatcher struct {
	conf      Config
	store     Store
	sender    Sender
	snapshots Snapshots
	health    Health
	observers []Observer
	log       *slog.Logger

	lease lease
	ends  ends

	mu       sync.Mutex // guards what follows, and the lanes
	snapshot *subscription.Snapshot
	lanes    map[string]*lane
	round    fifo[*lane] // those that may be able to send
	inFlight int
	held     int // in queues, under way, or to be stored
	promised int // places given out by Reserve, and asked for by a claim
	replicas int // that are alive
	stopping bool
	workers  workers
	timers   timers
	gone     []*subscription.Target // to be reported
	erasures erasures

	claimSoon, timerSoon, goneSoon chan struct{} // each with room for one
}

// New makes a Dispatcher. health may be nil. Observers are told of each stored attempt, in the order given.
func New(conf Config, store Store, sender Sender, snapshots Snapshots, health Health, log *slog.Logger, observers ...Observer) *Dispatcher {
	conf.setDefaults()
	d := &Dispatcher{
		conf: conf, store: store, sender: sender, snapshots: snapshots, health: health, observers: observers, log: log,
		lanes: map[string]*lane{}, replicas: 1,
		claimSoon: make(chan struct{}, 1), timerSoon: make(chan struct{}, 1), goneSoon: make(chan struct{}, 1),
	}
	d.lease.init(conf.LeaseTTL)
	d.ends.init()
	d.erasures.recent = map[string]erasure{}
	return d
}

// Run sends until ctx ends. Then it starts nothing more, gives back what it holds, waits for what is under way, stores how
// that ended, and returns nil.
//
// The order matters: what is queued goes back at once, so that another replica need not wait for this one's last attempts;
// the lease goes last, since the ends of those attempts are stored under it.
func (d *Dispatcher) Run(ctx context.Context) error {
	// Sending and storing go on for a while after ctx has ended.
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	storing, stopStoring := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()
	defer stopStoring()
	d.startWorkers(sending)

	var feeders, keepers sync.WaitGroup
	feeders.Go(func() { d.followSnapshots(ctx) })
	feeders.Go(func() { d.claimUntil(ctx) })
	feeders.Go(func() { d.runTimers(ctx) })
	feeders.Go(func() { d.reportGone(ctx) })
	keepers.Go(func() { d.keepLease(storing) })
	keepers.Go(func() { d.storeEnds(storing) })

	<-ctx.Done()
	d.stop()
	feeders.Wait()
	giveUpSending := time.AfterFunc(d.conf.StopTimeout, stopSending)
	defer giveUpSending.Stop()
	d.workers.group.Wait()
	giveUpStoring := time.AfterFunc(d.conf.StopTimeout/2, stopStoring)
	defer giveUpStoring.Stop()
	d.ends.drain()
	d.leave(storing)
	stopStoring()
	keepers.Wait()
	return nil
}

// stop starts nothing more and gives back what is queued.
func (d *Dispatcher) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopping = true
	d.workers.dismiss()
	for _, l := range d.lanes {
		d.putBack(l, 0)
	}
}

// putBack gives back what is queued in a lane, due after wait.
func (d *Dispatcher) putBack(l *lane, wait time.Duration) {
	for _, q := range []*fifo[Leased]{&l.fresh, &l.backlog} {
		for _, item := range q.drain() {
			d.ends.release(Released{ID: item.ID, Token: item.Token, Wait: wait})
		}
	}
}

func poke(soon chan struct{}) {
	select {
	case soon <- struct{}{}:
	default:
	}
}
