package outbox

import (
	"context"
	"slices"
	"sync"
)

const (
	removeBatch = 1000
	maxUnsaved  = 16 * removeBatch
)

// remover deletes published messages, together and beside the publishing.
type remover struct {
	relay *Relay
	wake  chan struct{}
	room  chan struct{}

	mu   sync.Mutex
	done []int64
}

// add takes the positions of published messages. It waits while too many are not removed: the database is slow then, and
// every one of them would be published again after a crash.
func (d *remover) add(ctx context.Context, batch []Message) {
	d.mu.Lock()
	for i := range batch {
		d.done = append(d.done, batch[i].Position)
	}
	full := len(d.done) > maxUnsaved
	d.mu.Unlock()
	poke(d.wake)
	for full && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-d.room:
		}
		d.mu.Lock()
		full = len(d.done) > maxUnsaved
		d.mu.Unlock()
	}
}

// without is the messages except those that are published and only not removed yet.
func (d *remover) without(messages []Message) []Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.done) == 0 {
		return messages
	}
	done := make(map[int64]bool, len(d.done))
	for _, p := range d.done {
		done[p] = true
	}
	return slices.DeleteFunc(messages, func(m Message) bool { return done[m.Position] })
}

// run removes until ctx ends, and then once more.
func (d *remover) run(ctx context.Context) {
	wait := removeInterval
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			d.flush(last)
			return
		case <-d.wake:
		}
		sleep(ctx, wait)
		if ctx.Err() != nil {
			continue
		}
		wait = removeInterval
		if !d.flush(ctx) {
			wait = maxBackoff
			poke(d.wake)
		}
	}
}

// flush removes everything. It reports whether that worked.
func (d *remover) flush(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for {
		d.mu.Lock()
		batch := d.done[:min(len(d.done), removeBatch)]
		d.mu.Unlock()
		if len(batch) == 0 {
			d.relay.cfg.Handoff.removed(d.relay.cfg.Lease)
			return true
		}
		if err := d.relay.cfg.Store.Remove(ctx, batch); err != nil {
			d.relay.log.Warn("published events cannot be removed from the outbox yet", "error", err)
			return false
		}
		d.mu.Lock()
		d.done = d.done[len(batch):]
		d.mu.Unlock()
		poke(d.room)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
