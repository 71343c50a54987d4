package inbox

import (
	"sync"
	"sync/atomic"
	"time"
)

// lane is the line of one worker. All events of a key are in the same lane, so
// they stay in order.
type lane struct {
	mu     sync.Mutex
	items  []*item
	closed bool
	// ready has an element when there may be something to take.
	ready chan struct{}
	// limit is how many events a batch may have, at most MaxBatch: fewer while
	// the handler is slow.
	limit atomic.Int64
}

func newLane(limit int) *lane {
	l := &lane{ready: make(chan struct{}, 1)}
	l.limit.Store(int64(limit))
	return l
}

func (l *lane) put(items ...*item) {
	l.mu.Lock()
	l.items = append(l.items, items...)
	l.mu.Unlock()
	l.signal()
}

// close makes wait return false once the lane is empty.
func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
}

func (l *lane) signal() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// take removes a batch from the front. What took too long before comes alone.
func (l *lane) take() []*item {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.items), int(l.limit.Load()))
	for i, it := range l.items[:n] {
		if it.slow {
			n = max(i, 1)
			break
		}
	}
	return l.cut(n)
}

// takeAll removes all items.
func (l *lane) takeAll() []*item {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut(len(l.items))
}

func (l *lane) cut(n int) []*item {
	batch := l.items[:n:n]
	l.items = l.items[n:]
	if len(l.items) == 0 {
		l.items = nil
	}
	return batch
}

// takeIf removes all items that match.
func (l *lane) takeIf(match func(*item) bool) (matching []*item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := make([]*item, 0, len(l.items))
	for _, it := range l.items {
		if match(it) {
			matching = append(matching, it)
		} else {
			kept = append(kept, it)
		}
	}
	l.items = kept
	return matching
}

// state reports how many are in the lane, and whether no more will come.
func (l *lane) state() (n int, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.items), l.closed
}

// pace sets the limit after a batch, so that the next one takes about a slice
// of time: less when this one took more, twice as much when it was full and
// took less than half of it.
func (b *Inbox) pace(l *lane, batch int, prepared, applied time.Duration, tooSlow bool) {
	n, limit, slice := int64(batch), l.limit.Load(), b.config.Lease/turns
	switch {
	case applied > slice:
		limit = n * int64(slice) / int64(applied)
	case n >= limit && prepared+applied < slice/2:
		limit *= 2
	}
	if tooSlow {
		limit = min(limit, n/2)
	}
	l.limit.Store(min(max(limit, 1), int64(b.config.MaxBatch)))
}

// turns is how many batches fit into a lease: so many that those in line come
// to their turn while most of their lease is left.
const turns = 32

// room is how many items may be in memory: fewer while the handler is slow,
// since the rest would wait for longer than a lease.
func (b *Inbox) room() int64 {
	var limits int64
	for _, l := range b.lanes {
		limits += l.limit.Load()
	}
	most, lanes := int64(b.config.MaxQueued), int64(len(b.lanes))
	return min(most, max(lanes, most*limits/(lanes*int64(b.config.MaxBatch))))
}

// reserve takes room for up to n items in memory and returns how much it got.
func (b *Inbox) reserve(n int) int {
	if !b.hasRoom() {
		return 0
	}
	limit := b.room()
	for {
		have := b.queued.Load()
		got := min(int64(n), limit-have)
		if got <= 0 {
			return 0
		}
		if b.queued.CompareAndSwap(have, have+got) {
			return int(got)
		}
	}
}

func (b *Inbox) hasRoom() bool {
	return b.queued.Load() < b.room() && b.held.Load() < b.config.MaxQueuedBytes
}

// release gives room for n items back, and wakes a claimer that waits for it.
func (b *Inbox) release(n int) {
	b.queued.Add(int64(-n))
	if b.hungry.Load() && b.queued.Load() <= b.room()/2 && b.hasRoom() && b.hungry.CompareAndSwap(true, false) {
		b.nudge()
	}
}
