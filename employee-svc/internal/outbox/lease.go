package outbox

import (
	"context"
	"slices"
	"time"
)

// claimIfWanted fills the claimed ones when they are used up.
func (r *Relay) claimIfWanted(ctx context.Context) {
	r.releaseStrays(ctx)
	if now := time.Now(); !now.Before(r.poll) {
		r.poll = now.Add(jitter(r.cfg.Poll, 0.2))
		r.cfg.Handoff.claimAgain()
	}
	if len(r.claimed) > 0 || time.Since(r.rested) < claimRest || !r.cfg.Handoff.wantsClaim() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	until := time.Now().Add(r.cfg.Lease)
	claimed, err := r.cfg.Store.Claim(ctx, r.lease, until, r.limit)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Warn("outbox messages cannot be claimed", "error", err)
		}
		r.rested = time.Now()
		return // the poll tries again
	}
	for i := range claimed {
		claimed[i].Until = until
	}
	switch len(claimed) {
	case 0:
		r.rested = time.Now()
	case r.limit:
		r.cfg.Handoff.claimAgain()
	}
	r.claimed = r.remover.without(claimed)
}

// renewed is the batch without what this relay no longer holds: a call that starts now ends before the leases do.
func (r *Relay) renewed(ctx context.Context, batch []Message) []Message {
	needed := time.Now().Add(r.cfg.PublishTimeout + time.Second)
	if !slices.ContainsFunc(batch, func(m Message) bool { return m.Until.Before(needed) }) {
		return batch
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	until := time.Now().Add(r.cfg.Lease)
	kept, err := r.cfg.Store.Renew(ctx, r.lease, until, positions(batch))
	if err != nil {
		if ctx.Err() == nil {
			r.log.Warn("outbox leases cannot be renewed", "error", err)
		}
		return nil // they end by themselves, and the messages are claimed again
	}
	held := make(map[int64]bool, len(kept))
	for _, p := range kept {
		held[p] = true
	}
	batch = slices.DeleteFunc(batch, func(m Message) bool { return !held[m.Position] })
	for i := range batch {
		batch[i].Until = until
	}
	return batch
}

// giveUp releases what is in memory.
func (r *Relay) giveUp(ctx context.Context) {
	held := append(r.cfg.Handoff.close(), r.claimed...)
	r.claimed = nil
	r.release(ctx, r.lease, held)
	r.releaseStrays(ctx)
}

// releaseStrays frees what was committed under a lease that was given up meanwhile.
func (r *Relay) releaseStrays(ctx context.Context) {
	for lease, strays := range r.cfg.Handoff.takeStrays() {
		r.release(ctx, lease, strays)
	}
}

// release frees the messages. When that fails their leases end by themselves.
func (r *Relay) release(ctx context.Context, lease int64, messages []Message) {
	if len(messages) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := r.cfg.Store.Release(ctx, lease, positions(messages)); err != nil {
		r.log.Warn("outbox messages cannot be released and wait for their leases to end", "messages", len(messages), "error", err)
	}
	r.cfg.Handoff.claimAgain()
}

func positions(messages []Message) []int64 {
	all := make([]int64, len(messages))
	for i := range messages {
		all[i] = messages[i].Position
	}
	return all
}
