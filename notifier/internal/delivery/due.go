package delivery

// Due says that something of a subscription is due now which the dispatcher was not told of, so that it need not wait for the
// next poll.
func (d *Dispatcher) Due(subscriptionID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lanes[subscriptionID]; l != nil {
		l.claim = true
		poke(d.claimSoon)
	}
}
