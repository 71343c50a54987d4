package inbox

import (
	"context"
	"time"
)

// claimDue takes due rows from the table: at the start, when it is woken, and
// at each poll, which is the safety net. work outlives ctx, so that a claim is
// not broken off with its leases taken.
func (b *Inbox) claimDue(ctx, work context.Context) {
	for {
		b.claimAll(ctx, work)
		timer := time.NewTimer(jitter(b.config.Poll))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-b.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// claimAll claims until nothing is due or there is no room.
func (b *Inbox) claimAll(ctx, work context.Context) {
	for ctx.Err() == nil {
		room := b.reserve(b.config.MaxBatch)
		if room == 0 {
			b.hungry.Store(true)
			if b.hasRoom() && b.hungry.CompareAndSwap(true, false) { // released meanwhile
				continue
			}
			return
		}
		claimed, err := b.claimSome(work, room)
		b.release(room - claimed)
		if err != nil {
			b.config.Observe(Observation{What: Unavailable, Err: err})
			return
		}
		if claimed == 0 {
			return
		}
	}
}

func (b *Inbox) claimSome(ctx context.Context, room int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, b.config.CommitTimeout)
	defer cancel()
	at := now()
	items, err := b.backend.claim(ctx, b.newLease(), at, at.Add(b.config.Lease), room)
	if err != nil {
		return 0, err
	}
	for _, it := range items {
		b.enqueueWork(it)
	}
	return len(items), nil
}
