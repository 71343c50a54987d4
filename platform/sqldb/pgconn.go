package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// errConnLost stands for driver.ErrBadConn where database/sql must not see
// it: it would run the statement again, on a new connection, although the
// server may have run it already (lib/pq#939).
var errConnLost = errors.New("connection lost")

// errReadOnly is a server that takes no writes: a standby, or a primary that
// has become one.
var errReadOnly = errors.New("server is read-only")

// lostError is a connection that was lost inside a transaction, before COMMIT
// was sent: nothing is committed.
type lostError struct{ err error }

func (e *lostError) Error() string { return "connection lost in transaction: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// connector opens lib/pq connections and puts three guarantees around them:
// every call ends soon after its context, even against a frozen server; a
// statement is never run twice behind the caller's back; and a connection that
// the server has closed is not handed out again.
type connector struct{ base *pq.Connector }

func newConnector(dsn string, silence time.Duration) (*connector, error) {
	base, err := pq.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	base.Dialer(dialer{silence: silence})
	return &connector{base: base}, nil
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return c.base.Driver() }

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	slot := &wireSlot{}
	stop := context.AfterFunc(ctx, slot.end)
	base, err := c.base.Connect(context.WithValue(ctx, wireSlotKey{}, slot))
	if !stop() {
		slot.end() // now, not when the connection is in use
	}
	if err != nil {
		return nil, withContext(ctx, err)
	}
	conn := &conn{pqConn: base.(pqConn), wire: slot.wire}
	conn.cutSoon = func() { conn.wire.expire(graceAfterCancel) }
	return conn, nil
}

// pqConn is what lib/pq's connections can do.
type pqConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type conn struct {
	pqConn
	wire    *wire
	cutSoon func()
	inTx    bool
}

// exchange is one call to the server.
type exchange struct {
	conn *conn
	ctx  context.Context //nolint:containedctx // lives as long as the call
	stop func() bool
	sent uint64
}

func (c *conn) start(ctx context.Context) exchange {
	x := exchange{conn: c, ctx: ctx, sent: c.wire.written.Load()}
	if ctx.Done() != nil {
		x.stop = context.AfterFunc(ctx, c.cutSoon)
	}
	return x
}

// end ends the watch over the context and gives err its meaning.
func (x exchange) end(err error) error {
	x.unwatch()
	return x.meaning(err)
}

// unwatch ends the watch over the context. Where the context has just ended
// the connection is marked here and now: its next user must not be hit.
func (x exchange) unwatch() {
	if x.stop != nil && !x.stop() {
		x.conn.cutSoon()
	}
}

func (x exchange) meaning(err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // the plain value ends rows; a lost connection never has it
		return err
	}
	if e, ok := errors.AsType[*pq.Error](err); ok {
		switch e.Code {
		case pqerror.ReadOnlySQLTransaction:
			if !x.conn.inTx {
				x.conn.wire.expire(graceAfterCancel) // the next one may reach the new primary
			}
		case pqerror.QueryCanceled:
			return withContext(x.ctx, err)
		}
		return err
	}
	if !isConnLost(err) {
		return err
	}
	x.conn.wire.expire(0)
	if x.conn.inTx {
		return &lostError{withContext(x.ctx, err)}
	}
	if x.conn.wire.written.Load() == x.sent {
		return err // never left: database/sql may try another connection
	}
	if errors.Is(err, driver.ErrBadConn) {
		err = errConnLost
	}
	return &AmbiguousError{Err: withContext(x.ctx, err)}
}

// withContext adds the reason to an error that a done context has caused.
func withContext(ctx context.Context, err error) error {
	cause := ctx.Err()
	if deadline, ok := ctx.Deadline(); ok && cause == nil && !time.Now().Before(deadline) {
		cause = context.DeadlineExceeded // the context's own timer is a moment late
	}
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

func (c *conn) IsValid() bool { return !c.wire.expired() && c.pqConn.IsValid() }

func (c *conn) ResetSession(ctx context.Context) error {
	if c.wire.expired() || c.wire.stale() {
		return driver.ErrBadConn
	}
	return c.pqConn.ResetSession(ctx)
}

// CheckNamedValue gives both engines the same times: UTC, microseconds cut
// off. PostgreSQL by itself would round.
func (c *conn) CheckNamedValue(nv *driver.NamedValue) error {
	switch t := nv.Value.(type) {
	case time.Time:
		nv.Value = t.UTC().Truncate(time.Microsecond)
		return nil
	case *time.Time:
		if t == nil {
			nv.Value = nil
		} else {
			nv.Value = t.UTC().Truncate(time.Microsecond)
		}
		return nil
	}
	return c.pqConn.CheckNamedValue(nv)
}

func (c *conn) Ping(ctx context.Context) error {
	x := c.start(ctx)
	err := c.pqConn.Ping(ctx)
	x.unwatch()
	return withContext(ctx, err) // harmless: database/sql may repeat it
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	x := c.start(ctx)
	res, err := c.pqConn.ExecContext(ctx, query, args)
	return res, x.end(err)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	x := c.start(ctx)
	rows, err := c.pqConn.QueryContext(ctx, query, args)
	return x.rows(rows, err)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	x := c.start(ctx)
	st, err := c.pqConn.PrepareContext(ctx, query)
	x.unwatch()
	if err != nil {
		return nil, withContext(ctx, err) // harmless: database/sql may repeat it
	}
	return &stmt{Stmt: st, conn: c}, nil
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	x := c.start(ctx)
	base, err := c.pqConn.BeginTx(ctx, opts)
	if err != nil {
		x.unwatch()
		// A standby refuses BEGIN READ WRITE so.
		if e, ok := errors.AsType[*pq.Error](err); ok && e.Code == pqerror.FeatureNotSupported && !opts.ReadOnly {
			c.wire.expire(0)
			return nil, fmt.Errorf("%w: %w", errReadOnly, err)
		}
		return nil, withContext(ctx, err)
	}
	c.inTx = true
	return &tx{base: base, watch: x}, nil // watched until it ends
}

type tx struct {
	base  driver.Tx
	watch exchange
}

// Commit tells the three outcomes apart: committed, not committed, and unknown
// (the COMMIT left, no answer came).
func (t *tx) Commit() error {
	c := t.watch.conn
	before := c.wire.written.Load()
	err := t.base.Commit()
	c.inTx = false
	t.watch.unwatch()
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*pq.Error](err); ok || errors.Is(err, pq.ErrInFailedTransaction) {
		return err // the server says that it did not
	}
	c.wire.expire(0)
	if c.wire.written.Load() == before {
		return withContext(t.watch.ctx, err)
	}
	if errors.Is(err, driver.ErrBadConn) {
		err = errConnLost
	}
	return &AmbiguousError{Err: withContext(t.watch.ctx, err)}
}

func (t *tx) Rollback() error {
	err := t.base.Rollback()
	t.watch.conn.inTx = false
	t.watch.unwatch()
	return err
}
