package delivery

import (
	"time"

	"hirewire.dev/notifier/internal/subscription"
)

// Places is room in a lane for deliveries about to be stored.
type Places struct {
	Target *subscription.Target
	// Wanted is how many there would be; Granted, which Reserve sets, how many may be stored leased.
	Wanted, Granted int
}

// Waiting is a delivery that was stored without a lease.
type Waiting struct {
	SubscriptionID string
	// Wait is the time until it is due.
	Wait time.Duration
	// Blocked says that it waits for an earlier one of its employee.
	Blocked bool
}

// Reserve grants places in the lanes, and gives the token to lease with; 0, and no places, when there is none. It must be
// followed by Accept with the same token and places.
func (d *Dispatcher) Reserve(places []Places) (token int64) {
	token = d.lease.begin()
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.refresh(now)
	left := d.conf.MaxHeld - d.held - d.promised
	for i := range places {
		p := &places[i]
		p.Granted = 0
		l := d.lanes[p.Target.ID]
		if token == 0 || d.stopping || l == nil {
			continue
		}
		p.Granted = min(p.Wanted, l.freshRoom(now), max(left, 0))
		left -= p.Granted
		l.reserved += p.Granted
		d.promised += p.Granted
	}
	return token
}

// Accept takes over what was stored leased, and hears of what was stored without; places that were not used are given back.
// unsure says that more may be leased than the caller knows, since it could not learn what became of its statement.
func (d *Dispatcher) Accept(token int64, places []Places, leased []Leased, waiting []Waiting, unsure bool) {
	d.lease.end(token, len(leased), unsure)
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range places {
		d.promised -= places[i].Granted
		if l := d.lanes[places[i].Target.ID]; l != nil {
			l.reserved = max(l.reserved-places[i].Granted, 0)
		}
	}
	now := time.Now()
	for i := range waiting {
		l := d.lanes[waiting[i].SubscriptionID]
		switch {
		case l == nil:
		case waiting[i].Blocked:
			l.linedUp = now
			d.dueAt(l, now.Add(BlockedFor))
		case waiting[i].Wait > 0:
			d.dueAt(l, now.Add(waiting[i].Wait))
		default:
			l.claim = true
			if l.claimRoom(now) > 0 {
				poke(d.claimSoon)
			}
		}
	}
	if len(leased) == 0 || !d.lease.knows(token) {
		return
	}
	d.held += len(leased)
	for i := range leased {
		l := d.lanes[leased[i].SubscriptionID]
		if l == nil || d.stopping || !l.open() || d.erasures.has(&leased[i]) {
			d.ends.release(Released{ID: leased[i].ID, Token: token})
			continue
		}
		l.fresh.push(leased[i])
		d.makeReady(l)
	}
	d.assign(now)
}
