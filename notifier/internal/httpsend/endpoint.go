package httpsend

import (
	"crypto/tls"
	"net"
	"strconv"
	"sync"
	"time"

	"hirewire.dev/notifier/internal/egress"
)

const (
	// idleTimeout is how long a connection may wait for the next request: less than what common servers wait.
	idleTimeout = 30 * time.Second
	// maxIdle is how many connections may wait for one host.
	maxIdle = 256
	// maxIdleTotal is how many may wait in all.
	maxIdleTotal = 4096
	// endpointTimeout is how long a URL is remembered that nothing is sent to.
	endpointTimeout = 10 * time.Minute
	// distrustTime is how long no connection of a host is used twice after it closed one without saying so.
	distrustTime = time.Minute
)

// An endpoint is a URL, checked and ready to be written.
type endpoint struct {
	head []byte // request line, host and user agent
	pool *pool
	used time.Time // guarded by endpoints.mu
}

// A pool holds the idle connections to one host and port. The last one that came back goes out first, so that those that
// are not needed grow old.
type pool struct {
	host string
	addr string
	tls  *tls.Config // nil for plain HTTP

	owner    *endpoints
	mu       sync.Mutex
	idle     []*conn
	distrust time.Time
}

type endpoints struct {
	mu    sync.RWMutex
	byURL map[string]*endpoint
	pools map[string]*pool
	// idle counts the connections in all pools, and shut says that no more are kept; under a lock of their own, which is
	// taken on every exchange.
	idleMu sync.Mutex
	idle   int
	shut   bool
}

func (es *endpoints) init() {
	es.byURL, es.pools = map[string]*endpoint{}, map[string]*pool{}
}

// endpoint gives the endpoint of a URL. A URL that the guard refuses is not kept: the error is for the asking.
func (s *Sender) endpoint(rawURL string, now time.Time) (*endpoint, error) {
	es := &s.endpoints
	es.mu.RLock()
	e := es.byURL[rawURL]
	fresh := e != nil && now.Sub(e.used) < time.Minute
	es.mu.RUnlock()
	if fresh {
		return e, nil
	}
	if e != nil {
		es.mu.Lock()
		e.used = now
		es.byURL[rawURL] = e // a sweep may have been quicker
		es.mu.Unlock()
		return e, nil
	}
	t, err := s.guard.CheckURL(rawURL)
	if err != nil {
		return nil, err
	}
	es.mu.Lock()
	defer es.mu.Unlock()
	if e := es.byURL[rawURL]; e != nil {
		return e, nil
	}
	e = &endpoint{pool: s.pool(t), used: now}
	e.head = append(e.head, "POST "+t.URL.RequestURI()+" HTTP/1.1\r\nhost: "+t.URL.Host+"\r\nuser-agent: "+s.userAgent+"\r\n"...)
	es.byURL[rawURL] = e
	return e, nil
}

// pool gives the pool of a target's host. The caller holds the lock of endpoints.
func (s *Sender) pool(t egress.Target) *pool {
	addr := net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
	key := t.URL.Scheme + "://" + addr
	if p := s.endpoints.pools[key]; p != nil {
		return p
	}
	p := &pool{host: t.Host, addr: addr, owner: &s.endpoints}
	if t.URL.Scheme == "https" {
		p.tls = s.tls.Clone()
		p.tls.ServerName = t.Host
		// One cache for each host and port: a shared one is keyed by the name alone.
		p.tls.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	}
	s.endpoints.pools[key] = p
	return p
}

// get takes an idle connection that is still open, or nil.
func (p *pool) get(now time.Time, deadline time.Time) *conn {
	for {
		p.mu.Lock()
		last := len(p.idle) - 1
		if last < 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		p.mu.Unlock()
		p.owner.count(-1)
		if now.Before(c.expires) && c.begin(deadline) == nil && c.alive() {
			return c
		}
		c.close()
	}
}

// put takes a connection back. keep is for how long the receiver said that it keeps it; 0 when it did not say.
func (p *pool) put(c *conn, now time.Time, keep time.Duration) {
	life := idleTimeout
	if keep > 0 {
		life = min(life, keep-time.Second)
	}
	c.expires = now.Add(life)
	if life > 0 && p.owner.count(1) {
		p.mu.Lock()
		ok := len(p.idle) < maxIdle && !now.Before(p.distrust)
		if ok {
			p.idle = append(p.idle, c)
		}
		p.mu.Unlock()
		if ok {
			return
		}
		p.owner.count(-1)
	}
	c.close()
}

// closedSilently notes that a connection was closed between two requests without a word: the next request on such a one
// would fail too.
func (p *pool) closedSilently(now time.Time) {
	p.mu.Lock()
	p.distrust = now.Add(distrustTime)
	p.mu.Unlock()
}

// count says whether n more idle connections are within the limit; less always are.
func (es *endpoints) count(n int) bool {
	es.idleMu.Lock()
	defer es.idleMu.Unlock()
	if n > 0 && (es.shut || es.idle+n > maxIdleTotal) {
		return false
	}
	es.idle += n
	return true
}

// shutdown closes all idle connections; those in use are closed when their exchange ends.
func (es *endpoints) shutdown() {
	es.idleMu.Lock()
	es.shut = true
	es.idleMu.Unlock()
	es.sweep(time.Now().Add(idleTimeout + endpointTimeout))
}

// sweep closes what is too old and forgets what is not used.
func (es *endpoints) sweep(now time.Time) {
	es.mu.Lock()
	defer es.mu.Unlock()
	inUse := map[*pool]bool{}
	for url, e := range es.byURL {
		if now.Sub(e.used) > endpointTimeout {
			delete(es.byURL, url)
		} else {
			inUse[e.pool] = true
		}
	}
	for key, p := range es.pools {
		if p.sweep(now); !inUse[p] {
			delete(es.pools, key)
		}
	}
}

func (p *pool) sweep(now time.Time) {
	p.mu.Lock()
	kept := p.idle[:0]
	var old []*conn
	for _, c := range p.idle {
		if now.Before(c.expires) {
			kept = append(kept, c)
		} else {
			old = append(old, c)
		}
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	p.mu.Unlock()
	for _, c := range old {
		p.owner.count(-1)
		c.close()
	}
}
