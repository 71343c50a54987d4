package delivery

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// lease is the tokens that this process leases with. There is one at a time, and for a while older ones: when it is unknown
// what a statement has leased, because its answer was lost, a new token takes over; and once all that is known to be leased
// by the old one has ended, the old one is given up, which frees the rest.
type lease struct {
	ttl  time.Duration
	soon chan struct{}

	mu      sync.Mutex
	token   int64 // 0: none
	holds   map[int64]*hold
	renewed time.Time // when the last renewal that succeeded began
}

type hold struct {
	items int  // known to be leased
	uses  int  // statements under way that may lease
	old   bool // leases nothing more
}

func (l *lease) init(ttl time.Duration) {
	l.ttl, l.holds, l.soon = ttl, map[int64]*hold{}, make(chan struct{}, 1)
}

// begin gives the token for a statement that leases, to be followed by end; 0 when there is none.
func (l *lease) begin() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.fresh() {
		return 0
	}
	l.holds[l.token].uses++
	return l.token
}

// end says what a statement has leased; unsure: that more may have been.
func (l *lease) end(token int64, leased int, unsure bool) {
	if token == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.holds[token]
	if h == nil { // lost meanwhile
		return
	}
	h.uses--
	h.items += leased
	if unsure && !h.old {
		h.old = true
		l.token = 0
		poke(l.soon)
	}
}

// forget says that n of what was leased is leased no more.
func (l *lease) forget(token int64, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.holds[token]; h != nil {
		if h.items -= n; h.old && h.items <= 0 && h.uses == 0 {
			poke(l.soon)
		}
	}
}

// fresh says that the lease was renewed lately: nobody can have taken over. The lock is held.
func (l *lease) fresh() bool { return l.token != 0 && time.Since(l.renewed) < l.ttl*4/5 }

// holding says that what the token has leased is still this process's own.
func (l *lease) holding(token int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holds[token] != nil && time.Since(l.renewed) < l.ttl*4/5
}

// knows says that the token is not lost.
func (l *lease) knows(token int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holds[token] != nil
}

// state gives the tokens to renew, and those to give up.
func (l *lease) state() (tokens, done []int64, current int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for token, h := range l.holds {
		if h.old && h.items <= 0 && h.uses == 0 {
			done = append(done, token)
		} else {
			tokens = append(tokens, token)
		}
	}
	return tokens, done, l.token
}

func (l *lease) entered(token int64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.token, l.holds[token] = token, &hold{}
	l.renewed = at
}

func (l *lease) left(token int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.holds, token)
	if l.token == token {
		l.token = 0
	}
}

func (l *lease) renew(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = at
}

// statementTimeout bounds each of the dispatcher's calls of the store.
const statementTimeout = 10 * time.Second

// keepLease enters, renews, and takes over from replicas that have died, until ctx ends.
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

func (d *Dispatcher) tendLease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(statementTimeout, d.conf.LeaseTTL/2))
	defer cancel()
	tokens, done, current := d.lease.state()
	if current == 0 && !d.isStopping() {
		token := rand.Int64() | 1 //nolint:gosec // It must differ from others, and is no secret.
		began := time.Now()
		if err := d.store.Enter(ctx, d.conf.Replica, token); err != nil {
			return err
		}
		d.lease.entered(token, began)
	}
	if len(tokens) > 0 {
		began := time.Now()
		lost, replicas, err := d.store.Renew(ctx, tokens)
		if err != nil {
			return err
		}
		d.lease.renew(began)
		for _, token := range lost {
			d.lease.left(token)
			d.dropLost(token)
		}
		d.setReplicas(replicas)
		if len(lost) > 0 {
			d.log.WarnContext(ctx, "another replica has taken over what was leased here", "tokens", len(lost))
			poke(d.lease.soon)
		}
	}
	for _, token := range done {
		if _, err := d.store.Leave(ctx, token); err != nil {
			return err
		}
		d.lease.left(token)
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

// leave gives up every token, so that whatever is left is free at once.
func (d *Dispatcher) leave(ctx context.Context) {
	tokens, done, _ := d.lease.state()
	for _, token := range append(tokens, done...) {
		if _, err := d.store.Leave(ctx, token); err != nil {
			d.log.WarnContext(ctx, "the lease could not be given up; it ends by itself", "error", err)
			return
		}
		d.lease.left(token)
	}
}

// dropLost forgets what is queued under a token that is lost: it is another's now.
func (d *Dispatcher) dropLost(token int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		for _, q := range []*fifo[Leased]{&l.fresh, &l.backlog} {
			for _, item := range q.drain() {
				if item.Token == token {
					d.held--
				} else {
					q.push(item)
				}
			}
		}
	}
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
