package sqldb

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// graceAfterCancel is how long a server may take to answer a cancelled
	// statement, and the cancel request itself, before its connection is cut.
	graceAfterCancel = 500 * time.Millisecond
	// silenceSlack is added to the server's own statement_timeout: a server
	// that is silent for longer is frozen.
	silenceSlack = 5 * time.Second
)

// wire is the socket under a PostgreSQL connection. It counts what was sent,
// so a lost reply can be told from a request that never left, and it makes
// sure that no read or write waits for ever: lib/pq by itself waits as long as
// the peer keeps the socket open.
type wire struct {
	net.Conn
	written atomic.Uint64
	silence time.Duration // 0 = unbounded

	mu      sync.Mutex
	cut     bool // deadlines are final
	touched time.Time
}

// expire gives the exchange under way a last moment, then fails it.
func (w *wire) expire(grace time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.cut {
		w.cut = true
		_ = w.Conn.SetDeadline(time.Now().Add(grace))
	}
}

// expired reports whether the connection must not be used again.
func (w *wire) expired() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut
}

// SetDeadline is what lib/pq calls around the handshake.
func (w *wire) SetDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return nil
	}
	w.touched = time.Time{}
	return w.Conn.SetDeadline(t)
}

// touch moves the silence deadline on, at most once a second.
func (w *wire) touch() {
	if w.silence == 0 {
		return
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.cut && now.Sub(w.touched) > time.Second {
		w.touched = now
		_ = w.Conn.SetDeadline(now.Add(w.silence))
	}
}

func (w *wire) Read(p []byte) (int, error) {
	w.touch()
	return w.Conn.Read(p)
}

func (w *wire) Write(p []byte) (int, error) {
	w.touch()
	n, err := w.Conn.Write(p)
	w.written.Add(uint64(n))
	return n, err
}

// dialer makes wires and reports them to the Connect that asked for one. Dials
// that no Connect asked for are lib/pq's cancel requests.
type dialer struct{ silence time.Duration }

type wireSlot struct {
	mu    sync.Mutex
	wire  *wire // the latest
	ended bool
}

type wireSlotKey struct{}

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn}
	slot, ok := ctx.Value(wireSlotKey{}).(*wireSlot)
	if !ok {
		w.expire(graceAfterCancel)
		return w, nil
	}
	w.silence = d.silence
	slot.set(w)
	return w, nil
}

// Dial and DialTimeout complete pq.Dialer; lib/pq prefers DialContext.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (s *wireSlot) set(w *wire) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wire = w
	if s.ended {
		w.expire(0)
	}
}

// end fails the handshake under way and those to come.
func (s *wireSlot) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.wire != nil {
		s.wire.expire(0)
	}
}
