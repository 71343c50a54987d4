package outbox

import (
	"sync"
	"time"
)

// Handoff passes messages from the transaction that stores them to the relay of the same process. Whoever stores messages
// reserves room before, stores them with the lease of the slot, and delivers them after the commit:
//
//	slot := handoff.Reserve(len(messages))
//	// store the messages with slot.Lease and slot.Until, commit
//	handoff.Deliver(slot, messages)
//
// Without room the lease is 0: the messages are stored free and due, and the relay finds them by claiming.
type Handoff struct {
	mu       sync.Mutex
	capacity int
	lease    int64 // 0: closed
	term     time.Duration
	promised int
	queue    []Message
	strays   map[int64][]Message // by lease: committed after their lease was given up
	noticed  time.Time           // when free messages were last stored
	claim    bool                // free messages may be there
	wake     chan struct{}
}

// Slot is reserved room.
type Slot struct {
	// Lease is to be stored with the messages; 0 means none.
	Lease int64
	// Until is the end of the lease, or now where there is none.
	Until time.Time

	n int
}

// NewHandoff makes a Handoff with room for so many messages. It is closed until a relay runs.
func NewHandoff(capacity int) *Handoff {
	return &Handoff{capacity: capacity, wake: make(chan struct{}, 1)}
}

// Reserve asks for room for n messages.
func (h *Handoff) Reserve(n int) Slot {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	room := h.capacity
	if h.claim {
		room /= 2 // what waits longer gets its share
	}
	if h.lease == 0 || h.promised+len(h.queue)+n > room {
		return Slot{Until: now}
	}
	h.promised += n
	return Slot{Lease: h.lease, Until: now.Add(h.term), n: n}
}

// Deliver hands the messages over after their commit. Those that were stored without the lease of the slot are not among
// them; free says that there are such.
func (h *Handoff) Deliver(slot Slot, messages []Message, free bool) {
	h.mu.Lock()
	h.settle(slot)
	for i := range messages {
		messages[i].Until = slot.Until
	}
	switch slot.Lease {
	case 0:
	case h.lease:
		h.queue = append(h.queue, messages...)
	default:
		if h.strays == nil {
			h.strays = make(map[int64][]Message)
		}
		h.strays[slot.Lease] = append(h.strays[slot.Lease], messages...)
	}
	if free {
		h.claim, h.noticed = true, time.Now()
	}
	h.mu.Unlock()
	poke(h.wake)
}

// Cancel gives the room back when nothing was stored.
func (h *Handoff) Cancel(slot Slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settle(slot)
}

// settle ends a promise. A slot of an earlier lease was settled when that ended.
func (h *Handoff) settle(slot Slot) {
	if slot.Lease != 0 && slot.Lease == h.lease {
		h.promised -= slot.n
	}
}

// open begins to take messages under the lease.
func (h *Handoff) open(lease int64, term time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lease != lease {
		h.lease, h.term, h.promised = lease, term, 0
	}
}

// close takes no more, and returns what is queued.
func (h *Handoff) close() []Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := h.queue
	h.lease, h.queue, h.promised, h.claim = 0, nil, 0, true
	return left
}

// take appends up to limit messages of up to size bytes together; at least one, if there is one.
func (h *Handoff) take(batch []Message, limit, size int) []Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := fit(h.queue, limit, size)
	batch = append(batch, h.queue[:n]...)
	if n == len(h.queue) {
		clear(h.queue)
		h.queue = h.queue[:0]
		return batch
	}
	clear(h.queue[:n])
	h.queue = h.queue[n:]
	return batch
}

// takeStrays removes what was committed too late to be handed over.
func (h *Handoff) takeStrays() map[int64][]Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	strays := h.strays
	h.strays = nil
	return strays
}

// wantsClaim reports, once, that free messages may be there.
func (h *Handoff) wantsClaim() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	wants := h.claim
	h.claim = false
	return wants
}

// claimPending reports whether wantsClaim would.
func (h *Handoff) claimPending() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.claim
}

// claimAgain says that more free messages may be there.
func (h *Handoff) claimAgain() {
	h.mu.Lock()
	h.claim = true
	h.mu.Unlock()
	poke(h.wake)
}

// removed tells that published messages are gone from the store: what waited behind one of them may be free now.
func (h *Handoff) removed(within time.Duration) {
	h.mu.Lock()
	recent := !h.noticed.IsZero() && time.Since(h.noticed) < within
	h.claim = h.claim || recent
	h.mu.Unlock()
	if recent {
		poke(h.wake)
	}
}

// fit is how many of the messages go into a batch: at least one, if there is one.
func fit(messages []Message, limit, size int) int {
	for i := range messages {
		size -= len(messages[i].Body)
		if i == limit || size < 0 && i > 0 {
			return i
		}
	}
	return len(messages)
}
