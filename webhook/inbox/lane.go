package inbox

import "sync"

// lane is the line of one worker. All events of a key are in the same lane, so
// they stay in order.
type lane struct {
	mu     sync.Mutex
	items  []*item
	closed bool
	// ready has an element when there may be something to take.
	ready chan struct{}
}

func newLane() *lane { return &lane{ready: make(chan struct{}, 1)} }

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

// take removes up to limit items from the front; 0 means all.
func (l *lane) take(limit int) []*item {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.items)
	if limit > 0 {
		n = min(n, limit)
	}
	batch := l.items[:n:n]
	l.items = l.items[n:]
	if len(l.items) == 0 {
		l.items = nil
	}
	return batch
}

// takeKey removes all items of a key.
func (l *lane) takeKey(key string) (of []*item) {
	if key == "" {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := make([]*item, 0, len(l.items))
	for _, it := range l.items {
		if it.event.Subject.Key == key {
			of = append(of, it)
		} else {
			kept = append(kept, it)
		}
	}
	l.items = kept
	return of
}

// state reports how many are in the lane, and whether no more will come.
func (l *lane) state() (n int, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.items), l.closed
}

// reserve takes room for up to n items in memory and returns how much it got.
func (b *Inbox) reserve(n int) int {
	if !b.hasRoom() {
		return 0
	}
	limit := int64(b.config.MaxQueued)
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
	return b.queued.Load() < int64(b.config.MaxQueued) && b.held.Load() < b.config.MaxQueuedBytes
}

// release gives room for n items back, and wakes a claimer that waits for it.
func (b *Inbox) release(n int) {
	b.queued.Add(int64(-n))
	if b.hungry.Load() && b.queued.Load() <= int64(b.config.MaxQueued)/2 && b.hasRoom() && b.hungry.CompareAndSwap(true, false) {
		b.nudge()
	}
}
