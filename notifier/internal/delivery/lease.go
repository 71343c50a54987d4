package delivery

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// lease is the holders that this process leases by. There is one at a time, and for a while older ones: when it is unknown
// what a call has leased, because its answer was lost, a new holder takes over; and once all that is known to be leased by
// the old one has ended, it is given up, which frees the rest.
type lease struct {
	ttl  time.Duration
	soon chan struct{}

	mu     sync.Mutex
	holder int64 // 0: none
	grants int64 // calls that leased, or may have
	holds  map[int64]*hold
}

type hold struct {
	items   int       // known to be leased
	calls   int       // under way that may lease
	old     bool      // leases nothing more
	renewed time.Time // when the last renewal that succeeded began
}

func (l *lease) init(ttl time.Duration) {
	l.ttl, l.holds, l.soon = ttl, map[int64]*hold{}, make(chan struct{}, 1)
}

// begin gives the token for a call that leases, to be followed by end; 0 when there is none.
func (l *lease) begin() (token int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.holds[l.holder]
	if h == nil || !l.fresh(h) {
		return 0
	}
	l.grants++
	h.calls++
	token = l.holder + l.grants
	if l.grants == 1<<grantBits-1 { // the last of its tokens
		l.replace(l.holder)
	}
	return token
}

// end says what a call has leased; unsure: that more may have been.
func (l *lease) end(token int64, leased int, unsure bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.holds[Holder(token)]
	if h == nil { // none, or lost meanwhile
		return
	}
	h.calls--
	h.items += leased
	if unsure {
		l.replace(Holder(token))
	}
}

// replace has another holder take over from one. The lock is held.
func (l *lease) replace(holder int64) {
	l.holds[holder].old = true
	if l.holder == holder {
		l.holder = 0
	}
	poke(l.soon)
}

// forget says that n of what was leased is leased no more.
func (l *lease) forget(token int64, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.holds[Holder(token)]; h != nil {
		if h.items -= n; h.done() {
			poke(l.soon)
		}
	}
}

// done says that a holder has nothing left that is known.
func (h *hold) done() bool { return h.old && h.items <= 0 && h.calls == 0 }

// fresh says that a holder was renewed lately: nobody can have taken over. The lock is held.
func (l *lease) fresh(h *hold) bool { return time.Since(h.renewed) < l.ttl*4/5 }

// holding says that what the token has leased is still this process's own.
func (l *lease) holding(token int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.holds[Holder(token)]
	return h != nil && l.fresh(h)
}

// knows says that the token's holder is not lost.
func (l *lease) knows(token int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holds[Holder(token)] != nil
}

// state gives the holders to renew, those to give up, and who leases now.
func (l *lease) state() (alive, done []int64, current int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for holder, h := range l.holds {
		if h.done() {
			done = append(done, holder)
		} else {
			alive = append(alive, holder)
		}
	}
	return alive, done, l.holder
}

func (l *lease) entered(holder int64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder, l.holds[holder], l.grants = holder, &hold{renewed: at}, 0
}

func (l *lease) left(holder int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.holds, holder)
	if l.holder == holder {
		l.holder = 0
	}
}

func (l *lease) renew(holders []int64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, holder := range holders {
		if h := l.holds[holder]; h != nil {
			h.renewed = at
		}
	}
}

// statementTimeout bounds each of the dispatcher's calls of the store.
const statementTimeout = 10 * time.Second

// keepLease enters, renews, drops what was erased, and takes over from replicas that have died, until ctx ends.
func (d *Dispatcher) keepLease(ctx context.Context) {
	every := d.conf.LeaseTTL / 5
	timer := time.NewTimer(0)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-d.lease.soon:
		}
		if err := d.tendLease(ctx); err != nil {
			if failures++; failures == 1 && ctx.Err() == nil {
				d.log.WarnContext(ctx, "the lease cannot be renewed", "error", err)
			}
			timer.Reset(jittered(min(every, 50*time.Millisecond<<min(failures, 6))))
			continue
		}
		failures = 0
		timer.Reset(jittered(every))
	}
}

// Recount says that a replica may have come or gone, and with it the share of the rates that is this one's, or that something
// may have been erased. It never blocks.
func (d *Dispatcher) Recount() { poke(d.lease.soon) }

// newHolder makes a holder that no other process has.
func newHolder() int64 {
	return (rand.Int64N(1<<(63-grantBits)-1) + 1) << grantBits //nolint:gosec // It must differ from others, and is no secret.
}

func (d *Dispatcher) tendLease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(statementTimeout, d.conf.LeaseTTL/2))
	defer cancel()
	alive, done, current := d.lease.state()
	if current == 0 && !d.isStopping() {
		holder := newHolder()
		began := time.Now()
		if err := d.store.Enter(ctx, d.conf.Replica, holder); err != nil {
			return err
		}
		d.lease.entered(holder, began)
		alive = append(alive, holder) // so that it is known at once how many share the rates
	}
	if len(alive) > 0 {
		began := time.Now()
		lost, replicas, err := d.store.Renew(ctx, alive)
		if err != nil {
			return err
		}
		for _, holder := range lost {
			d.lease.left(holder)
			d.dropLost(holder)
		}
		d.lease.renew(alive, began)
		d.setReplicas(replicas)
		if len(lost) > 0 {
			d.log.WarnContext(ctx, "another replica has taken over what was leased here")
			poke(d.lease.soon)
		}
	}
	if err := d.DropErased(ctx); err != nil {
		return err
	}
	for _, holder := range done {
		if _, err := d.store.Leave(ctx, holder); err != nil {
			return err
		}
		d.lease.left(holder)
	}
	freed, err := d.store.Expire(ctx, d.conf.LeaseTTL)
	if freed > 0 {
		d.log.InfoContext(ctx, "took over from a replica that is gone", "deliveries", freed)
	}
	if freed > 0 || len(done) > 0 {
		d.claimAll()
	}
	d.kick()
	return err
}

// leave gives up every holder, so that whatever is left is free at once.
func (d *Dispatcher) leave(ctx context.Context) {
	alive, done, _ := d.lease.state()
	for _, holder := range append(alive, done...) {
		if _, err := d.store.Leave(ctx, holder); err != nil {
			d.log.WarnContext(ctx, "the lease could not be given up; it ends by itself", "error", err)
			return
		}
		d.lease.left(holder)
	}
}

// dropLost forgets what is queued of a holder that is lost: it is another's now.
func (d *Dispatcher) dropLost(holder int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held -= len(d.unqueue(func(item *Leased) bool { return Holder(item.Token) == holder }))
}

// unqueue takes out of the queues what is to go. The lock is held.
func (d *Dispatcher) unqueue(goes func(*Leased) bool) (gone []Leased) {
	for _, l := range d.lanes {
		for _, q := range []*fifo[Leased]{&l.fresh, &l.backlog} {
			for _, item := range q.drain() {
				if goes(&item) {
					gone = append(gone, item)
				} else {
					q.push(item)
				}
			}
		}
	}
	return gone
}

func (d *Dispatcher) isStopping() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopping
}

// jittered is between three quarters of a time and all of it, so that replicas drift apart.
func jittered(t time.Duration) time.Duration {
	return t - rand.N(t/4+1) //nolint:gosec // Nothing is guessed from it.
}
