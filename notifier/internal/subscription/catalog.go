package subscription

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"hirewire.dev/notifier/internal/access"
)

// How closely the Catalog follows the store: changes made by other replicas are in force here within followEvery, and keys
// end within it of their time.
const (
	followEvery   = 300 * time.Millisecond
	followTimeout = 5 * time.Second
	// reopenEvery is how often keys that did not open are tried again.
	reopenEvery = 10 * time.Second
)

// Catalog holds all subscriptions in memory, ready to be matched against and to be sent to. It is safe for concurrent use.
type Catalog struct {
	feed   Feed
	opener opener
	now    func() time.Time
	log    *slog.Logger

	current atomic.Pointer[Snapshot]
	seen    atomic.Int64  // when the store last said so, in nanoseconds since 1970
	turn    chan struct{} // holds one token: one reload at a time
	// What follows belongs to whoever has the turn.
	change  int64 // the last one taken over
	records map[string]Record
	// turns are when a target must be made anew though its record has not changed: a key ends, or did not open.
	turns map[string]time.Time

	wake chan struct{}

	watch   sync.Mutex
	changed chan struct{}
}

// opener makes targets of records.
type opener struct {
	sealer  access.Sealer
	compile func(filter string) (func(*Candidate) bool, error)
	log     *slog.Logger
}

// NewCatalog makes a Catalog without subscriptions; Reload fills it.
//
// now is the time that all replicas share; nil: this process's.
func NewCatalog(feed Feed, sealer access.Sealer, compile func(filter string) (func(*Candidate) bool, error), now func() time.Time, log *slog.Logger) *Catalog {
	if now == nil {
		now = access.Now
	}
	c := &Catalog{
		turn: make(chan struct{}, 1), change: -1, feed: feed, opener: opener{sealer, compile, log}, now: now, log: log,
		records: map[string]Record{}, turns: map[string]time.Time{}, wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	c.current.Store(&Snapshot{Epoch: -1, Targets: map[string]*Target{}})
	return c
}

// Current is the latest snapshot.
func (c *Catalog) Current() *Snapshot { return c.current.Load() }

// Changed is closed when there is another snapshot than the one that Current gives now.
func (c *Catalog) Changed() <-chan struct{} {
	c.watch.Lock()
	defer c.watch.Unlock()
	return c.changed
}

// Wake makes the Catalog look at the store now.
func (c *Catalog) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run follows the store until ctx ends.
func (c *Catalog) Run(ctx context.Context) error {
	timer := time.NewTimer(followEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-timer.C:
		}
		if _, err := c.Reload(ctx); err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "subscriptions could not be refreshed", "error", err)
		}
		timer.Reset(followEvery/2 + rand.N(followEvery/2)) //nolint:gosec // Spreads replicas over time; nothing is guessed from it.
	}
}

// Reload takes over what has changed in the store and answers with the snapshot that is then current. Only what has changed
// is read.
func (c *Catalog) Reload(ctx context.Context) (*Snapshot, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	was := c.current.Load()
	mark, err := c.feed.Mark(ctx)
	if err != nil {
		return nil, fmt.Errorf("reload subscriptions: %w", err)
	}
	var changed []Record
	if mark.Change != c.change {
		if mark, changed, err = c.feed.ChangedSince(ctx, c.change); err != nil {
			return nil, fmt.Errorf("reload subscriptions: %w", err)
		}
	}
	changed = append(changed, c.due(c.now(), changed)...)
	if mark.Epoch == was.Epoch && len(changed) == 0 {
		c.change = mark.Change
		c.seen.Store(time.Now().UnixNano())
		return was, nil
	}
	next := &Snapshot{Epoch: mark.Epoch, Targets: was.Targets}
	if len(changed) > 0 {
		next.Targets = maps.Clone(was.Targets)
		for _, r := range changed {
			if err := c.put(ctx, next.Targets, r); err != nil {
				return nil, fmt.Errorf("reload subscriptions: %w", err)
			}
		}
	}
	c.change = mark.Change
	c.seen.Store(time.Now().UnixNano())
	c.current.Store(next)
	c.tell()
	return next, nil
}

// maxStale is how old the snapshot may be before the process is not ready.
const maxStale = 2 * time.Second

// Check is an error when the Catalog has lost touch with the store, or cannot understand what it says.
func (c *Catalog) Check(context.Context) error {
	if age := time.Since(time.Unix(0, c.seen.Load())); age > maxStale {
		return fmt.Errorf("subscriptions were last read %s ago", age.Round(time.Millisecond))
	}
	return nil
}

// due are the records, besides those that changed anyway, whose target must be made anew by now.
func (c *Catalog) due(now time.Time, changed []Record) []Record {
	var due []Record
	for id, at := range c.turns {
		if !now.Before(at) {
			due = append(due, c.records[id])
		}
	}
	for _, r := range changed {
		for i := range due {
			if due[i].ID == r.ID {
				due[i] = due[len(due)-1]
				due = due[:len(due)-1]
				break
			}
		}
	}
	return due
}

func (c *Catalog) put(ctx context.Context, targets map[string]*Target, r Record) error {
	delete(c.turns, r.ID)
	if !r.DeletedAt.IsZero() {
		delete(targets, r.ID)
		delete(c.records, r.ID)
		return nil
	}
	t, turn, err := c.opener.target(ctx, r, c.now())
	if err != nil {
		return err
	}
	targets[r.ID], c.records[r.ID] = t, r
	if !turn.IsZero() {
		c.turns[r.ID] = turn
	}
	return nil
}

func (c *Catalog) tell() {
	c.watch.Lock()
	defer c.watch.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}
