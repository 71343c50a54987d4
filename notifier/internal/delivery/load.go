package delivery

import (
	"time"
)

// Load is what a dispatcher has on its hands.
type Load struct {
	// InFlight is how many attempts are under way; at most Config.MaxInFlight.
	InFlight int
	// Held is how many deliveries are leased: queued, under way, or ended and not yet stored.
	Held int
	// HeldBack is how many subscriptions have asked to be left alone for a while.
	HeldBack int
}

// Load tells what there is to do at this moment.
func (d *Dispatcher) Load() Load {
	d.mu.Lock()
	defer d.mu.Unlock()
	load := Load{InFlight: d.inFlight, Held: d.held}
	now := time.Now()
	for _, l := range d.lanes {
		if l.heldUntil.After(now) {
			load.HeldBack++
		}
	}
	return load
}
