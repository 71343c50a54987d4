package serve

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// listener bounds the open connections. Idle ones give way: at the bound, or when the process is out of file descriptors,
// the one that has been idle for longest is closed; only when all are busy does the next one wait.
type listener struct {
	net.Listener
	tls  *tls.Config
	max  int
	room chan struct{} // a hint that a connection went or became idle
	over chan struct{} // closed with the listener
	end  sync.Once

	mu   sync.Mutex
	open int
	idle *list.List // of *conn, longest idle first
}

func newListener(l net.Listener, conf *tls.Config, most int) *listener {
	return &listener{Listener: l, tls: conf, max: most, room: make(chan struct{}, 1), over: make(chan struct{}), idle: list.New()}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			l.reap()
		}
		if err != nil {
			return nil, err
		}
		for !l.take() {
			if l.reap() {
				continue
			}
			select {
			case <-l.room:
			case <-l.over:
				_ = raw.Close() // never served
				return nil, net.ErrClosed
			}
		}
		c := &conn{Conn: raw, listener: l}
		c.head.length = -1
		if l.tls == nil {
			return c, nil
		}
		secure := tls.Server(raw, l.tls)
		c.Conn = secure
		return &secureConn{c, secure}, nil
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.end.Do(func() { close(l.over) })
	return l.Listener.Close()
}

func (l *listener) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.max {
		return false
	}
	l.open++
	return true
}

// reap closes the connection that has been idle for longest.
func (l *listener) reap() bool {
	l.mu.Lock()
	front := l.idle.Front()
	var c *conn
	if front != nil {
		c = l.idle.Remove(front).(*conn)
		c.place = nil
	}
	l.mu.Unlock()
	if c == nil {
		return false
	}
	_ = c.Close() // idle: nothing is lost
	return true
}

// quiet closes the connections on which nothing was ever sent: http.Server.Shutdown would wait for them.
func (l *listener) quiet() {
	l.mu.Lock()
	var silent []*conn
	for e := l.idle.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); !c.touched.Load() {
			silent = append(silent, c)
		}
	}
	l.mu.Unlock()
	for _, c := range silent {
		_ = c.Close() // as it says
	}
}

// state is the server's ConnState hook.
func (l *listener) state(nc net.Conn, state http.ConnState) {
	t, ok := nc.(tracked)
	if !ok {
		return
	}
	c := t.track()
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.place != nil {
		l.idle.Remove(c.place)
		c.place = nil
	}
	if (state == http.StateNew || state == http.StateIdle) && !c.gone {
		c.place = l.idle.PushBack(c)
		l.hint()
	}
}

func (l *listener) closed(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.gone {
		return
	}
	c.gone = true
	l.open--
	if c.place != nil {
		l.idle.Remove(c.place)
		c.place = nil
	}
	l.hint()
}

func (l *listener) hint() {
	select {
	case l.room <- struct{}{}:
	default:
	}
}

// conn is one accepted connection; it follows the heads of its requests.
type conn struct {
	net.Conn
	listener *listener
	head     head

	touched atomic.Bool // something was read

	place *list.Element // in listener.idle
	gone  bool
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.touched.Store(true)
		c.head.read(p[:n])
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.listener.closed(c)
	return c.Conn.Close()
}

// CloseWrite lets the server end its side first, so that an answer to a request that was not read whole still arrives.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *conn) track() *conn { return c }

// tracked is a connection of a listener, with TLS or without.
type tracked interface{ track() *conn }

// secureConn is a conn under TLS.
type secureConn struct {
	*conn
	tls *tls.Conn
}

// ConnectionState shakes hands. net/http calls it before the first request, to make Request.TLS.
func (c *secureConn) ConnectionState() tls.ConnectionState {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	if err := c.tls.HandshakeContext(ctx); err != nil {
		if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil {
			_ = plain.Conn.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(plain.Conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n") // a courtesy
		}
		_ = c.Close() // the read that follows tells net/http
	}
	return c.tls.ConnectionState()
}
