package delivery

// Granted makes as if the holder had given out all its tokens but some.
func (d *Dispatcher) Granted(allBut int64) {
	d.lease.mu.Lock()
	defer d.lease.mu.Unlock()
	d.lease.grants = 1<<grantBits - 1 - allBut
}
