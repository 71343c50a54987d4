// Package watch tells those who watch of each attempt as it ends. It never holds up what it watches: whoever reads too slowly
// is told how many it missed.
package watch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"hirewire.dev/notifier/internal/delivery"
)

const (
	// buffer is how many attempts wait for a slow watcher.
	buffer = 256
	// maxWatchers is how many may watch at once.
	maxWatchers = 500
)

// ErrTooMany means that as many watch as can be served.
var ErrTooMany = errors.New("too many are watching already")

// Hub tells watchers of what it observes. The zero value is ready.
type Hub struct {
	active atomic.Int32 // watchers, and one if others watch: nothing is locked while there are none

	mu       sync.Mutex
	watchers map[*Watcher]struct{}
	// outbox is what to tell other replicas, while somebody watches there.
	others bool
	outbox []Seen
	lost   int64 // what found no place in the outbox
}

var _ delivery.Observer = (*Hub)(nil)

// Seen is an attempt that a watcher is told of.
type Seen struct {
	Delivery delivery.Delivery // as it stands after the attempt
	Attempt  delivery.Attempt
	// Missed is how many were left out just before this one.
	Missed int64
}

// Watcher is one who watches.
type Watcher struct {
	hub  *Hub
	want func(delivery.Delivery, delivery.Attempt) bool
	seen chan Seen

	missed int64 // guarded by the hub's lock
}

// Observe implements delivery.Observer.
func (h *Hub) Observe(results []delivery.Result) {
	if h.active.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range results {
		r := &results[i]
		if r.Attempt.Number == 0 {
			continue // nothing was sent
		}
		s := Seen{Delivery: r.Delivery, Attempt: r.Attempt}
		h.tell(s)
		switch {
		case !h.others:
		case len(h.outbox) < maxOutbox:
			h.outbox = append(h.outbox, s)
		default:
			h.lost++
		}
	}
}

// tell tells the watchers here. The lock is held.
func (h *Hub) tell(s Seen) {
	for w := range h.watchers {
		w.missed += s.Missed
		if w.want(s.Delivery, s.Attempt) {
			w.tell(s)
		}
	}
}

func (w *Watcher) tell(s Seen) {
	s.Missed = w.missed
	select {
	case w.seen <- s:
		w.missed = 0
	default:
		w.missed++
	}
}

// Watch begins to watch what want chooses; want must be quick. Stop ends it.
//
// Errors: ErrTooMany.
func (h *Hub) Watch(want func(delivery.Delivery, delivery.Attempt) bool) (*Watcher, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) >= maxWatchers {
		return nil, ErrTooMany
	}
	if h.watchers == nil {
		h.watchers = map[*Watcher]struct{}{}
	}
	w := &Watcher{hub: h, want: want, seen: make(chan Seen, buffer)}
	h.watchers[w] = struct{}{}
	h.active.Add(1)
	return w, nil
}

// Next waits for the next attempt. The error is ctx's.
func (w *Watcher) Next(ctx context.Context) (Seen, error) {
	select {
	case s := <-w.seen:
		return s, nil
	case <-ctx.Done():
		return Seen{}, ctx.Err()
	}
}

// Stop ends watching. Again is no harm.
func (w *Watcher) Stop() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	if _, ok := w.hub.watchers[w]; ok {
		delete(w.hub.watchers, w)
		w.hub.active.Add(-1)
	}
}
