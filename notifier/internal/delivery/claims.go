package delivery

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// claimAtMost bounds what one statement claims, and so what is read into memory at once.
const claimAtMost = 4096

// claimUntil claims what is due until ctx ends: for the lanes that are told of something, at once; for all, now and then.
func (d *Dispatcher) claimUntil(ctx context.Context) {
	poll := time.NewTimer(0)
	defer poll.Stop()
	for failures := 0; ; {
		all := false
		select {
		case <-ctx.Done():
			return
		case <-d.claimSoon:
		case <-poll.C:
			all = true
			poll.Reset(jittered(d.conf.PollEvery))
		}
		if all {
			d.claimAll()
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = d.claimOnce(ctx); err != nil {
				if failures++; failures == 1 {
					d.log.WarnContext(ctx, "deliveries cannot be claimed; trying on", "error", err)
				}
				if !pause(ctx, failures) {
					return
				}
				break
			}
			failures = 0
		}
	}
}

// claimAll has every lane claim.
func (d *Dispatcher) claimAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh(time.Now())
	for _, l := range d.lanes {
		l.claim = true
	}
	poke(d.claimSoon)
}

// claimOnce claims for the lanes that may have something due and have room. more says that it should be called again.
func (d *Dispatcher) claimOnce(ctx context.Context) (more bool, err error) {
	token := d.lease.begin()
	if token == 0 {
		return false, nil
	}
	wants, left := d.wants(time.Now())
	if len(wants) == 0 {
		d.lease.end(token, 0, false)
		return false, nil
	}
	claimed, fullOf, err := d.claimFrom(ctx, token, wants)
	if err != nil {
		claimed, fullOf = nil, nil
	}
	d.lease.end(token, len(claimed), err != nil)
	d.takeClaimed(token, claimed, fullOf, wants, err != nil)
	return err == nil && (left || len(fullOf) > 0), err
}

// claimFrom claims. The statement outlives ctx for a moment, so that what it leases is known, and given back.
func (d *Dispatcher) claimFrom(ctx context.Context, token int64, wants []Want) (claimed []Leased, fullOf []string, err error) {
	statement, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, cancel) })
	defer stop()
	return d.store.Claim(statement, token, wants)
}

// wants lists the lanes that claim now, those that have waited longest first. left says that there are more.
func (d *Dispatcher) wants(now time.Time) (wants []Want, left bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return nil, false
	}
	room := min(claimAtMost, d.conf.MaxHeld-d.held-d.promised)
	var lanes []*lane
	for _, l := range d.lanes {
		if l.claim && l.claimRoom(now) > 0 {
			lanes = append(lanes, l)
		}
	}
	slices.SortFunc(lanes, func(a, b *lane) int {
		return cmp.Or(a.claimedAt.Compare(b.claimedAt), cmp.Compare(a.id, b.id))
	})
	for _, l := range lanes {
		n := min(l.claimRoom(now), room)
		if n <= 0 {
			return wants, len(wants) > 0
		}
		room -= n
		d.promised += n // until they are taken
		l.claim, l.claimedAt = false, now
		wants = append(wants, Want{SubscriptionID: l.id, Room: n, Ordered: ordered(l.target)})
	}
	return wants, false
}

func (d *Dispatcher) takeClaimed(token int64, claimed []Leased, fullOf []string, wants []Want, failed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range wants {
		d.promised -= w.Room
		if failed {
			fullOf = append(fullOf, w.SubscriptionID)
		}
	}
	for _, id := range fullOf {
		if l := d.lanes[id]; l != nil {
			l.claim = true
		}
	}
	if !d.lease.knows(token) {
		return
	}
	d.held += len(claimed)
	for _, item := range claimed {
		l := d.lanes[item.SubscriptionID]
		switch {
		case item.Event == nil: // its payload is gone: there is nothing to send
			d.ends.add(Finished{Leased: item, Status: Cancelled, Ordered: l != nil && l.target != nil && ordered(l.target)}, false)
		case l == nil || d.stopping || !l.open() || d.erasures.has(&item):
			d.ends.release(Released{ID: item.ID, Token: item.Token})
		default:
			l.backlog.push(item)
			d.makeReady(l)
		}
	}
	d.assign(time.Now())
}
