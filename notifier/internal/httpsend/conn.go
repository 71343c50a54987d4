package httpsend

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// A conn is one connection to a receiver, used by one exchange at a time.
type conn struct {
	net     net.Conn // TLS or plain
	tcp     net.Conn
	in      *bufio.Reader
	out     []byte
	scratch [1024]byte
	// deadline is the present exchange's; expires is when an idle connection is too old.
	deadline time.Time
	expires  time.Time

	// budget is how many bytes may still be read; readErr is the first error of reading below the parser, and read whether
	// there was anything to read since the request.
	budget  int
	readErr error
	read    bool
}

// phase says where an exchange was when it failed.
type phase int

const (
	phaseConnect phase = iota
	phaseTLS
	phaseWrite
	phaseRead
)

// phaseError is a failed exchange.
type phaseError struct {
	phase phase
	err   error
}

func (e *phaseError) Error() string { return e.err.Error() }
func (e *phaseError) Unwrap() error { return e.err }

// errBudget ends reading an answer that is larger than the limits.
var errBudget = errors.New("the answer is larger than the limits")

// dial connects, through the guard, and shakes hands.
func (s *Sender) dial(ctx context.Context, p *pool, deadline time.Time) (*conn, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	raw, err := s.connect(ctx, "tcp", p.addr)
	if err != nil {
		return nil, &phaseError{phaseConnect, err}
	}
	c := &conn{net: raw, tcp: raw}
	if p.tls != nil {
		ctx, cancel := context.WithTimeout(ctx, TLSTimeout)
		defer cancel()
		secure := tls.Client(raw, p.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, &phaseError{phaseTLS, err}
		}
		c.net = secure
	}
	c.in = bufio.NewReaderSize(c, 4096)
	if err := c.begin(deadline); err != nil {
		c.close()
		return nil, &phaseError{phaseConnect, err}
	}
	return c, nil
}

// begin gives the connection to an exchange that ends at the deadline.
func (c *conn) begin(deadline time.Time) error {
	c.deadline, c.budget, c.readErr, c.read = deadline, MaxHeader, nil, false
	return c.net.SetDeadline(deadline)
}

// Read is what the parser reads from: within the budget.
func (c *conn) Read(b []byte) (int, error) {
	if c.budget <= 0 {
		c.readErr = errBudget
		return 0, errBudget
	}
	n, err := c.net.Read(b[:min(len(b), c.budget)])
	c.budget -= n
	c.read = c.read || n > 0
	if err != nil {
		c.readErr = err
	}
	return n, err
}

// clean says whether another request may follow: nothing is left of the last answer, and nothing came after it.
func (c *conn) clean() bool {
	return c.readErr == nil && c.in.Buffered() == 0 && (c.net == c.tcp || c.drained())
}

// drained says whether TLS holds nothing that was sent together with the answer, where a look at the socket does not see it. A
// deadline that is over keeps it from waiting, and harms a reader of TLS no further.
func (c *conn) drained() bool {
	if c.net.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	n, err := c.net.Read(c.scratch[:1])
	return n == 0 && timedOut(err) && c.net.SetReadDeadline(c.deadline) == nil
}

// abort makes what blocks return now. It may be called at any time, from anywhere.
func (c *conn) abort() { _ = c.tcp.SetDeadline(time.Unix(1, 0)) }

// close drops the connection. The closing alert of TLS is not waited for.
func (c *conn) close() { _ = c.tcp.Close() }

// closed says whether err is the end of a connection, and not something that came over it.
func closed(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
