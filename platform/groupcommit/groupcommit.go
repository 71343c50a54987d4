// Package groupcommit lets concurrent callers share commits: while one batch
// commits the next one gathers, so the cost of a commit is paid once for all
// who wait, and a lone caller waits for nobody.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Errors that Do returns besides those of the commit function. After each the
// item is not committed.
var (
	// ErrBusy means that the queue is full.
	ErrBusy = errors.New("too many waiting")
	// ErrStopped means that Run is ending or has ended.
	ErrStopped = errors.New("stopped")
)

// PanicError is what the callers of a batch get whose commit function
// panicked. Whether the batch committed is unknown.
type PanicError struct {
	// Value is what the function panicked with.
	Value any
	// Stack is where.
	Stack []byte
}

// Error says what the panic was, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("commit panicked: %v", e.Value) }

// Result is the outcome for one item of a batch.
type Result[Out any] struct {
	Out Out
	Err error
}

// Config says how a Committer works. Zero fields take the defaults.
type Config[In, Out any] struct {
	// Commit commits the batch in one go and returns one result for each
	// item, in order. It must not keep the slice. Required.
	Commit func(ctx context.Context, batch []In) []Result[Out]
	// MaxBatch bounds the items of a batch; default 256.
	MaxBatch int
	// MaxQueue bounds the callers that wait; default 16 × MaxBatch.
	MaxQueue int
	// Block makes Do wait for room in a full queue instead of returning ErrBusy.
	Block bool
	// Committers is how many batches may commit at the same time; default 1,
	// which makes the largest batches and keeps the order of arrival.
	Committers int
	// Timeout bounds each call of Commit; default 10 s.
	Timeout time.Duration
	// Observe, if set, is told the size of each batch and how long it took.
	Observe func(items int, took time.Duration)
}

// Committer gathers concurrent calls of Do into batches, which Run commits.
type Committer[In, Out any] struct {
	cfg     Config[In, Out]
	queue   chan *call[In, Out]
	calls   sync.Pool
	stopped chan struct{}
	sending sync.RWMutex // held for reading while sending, so Run sees the last send
	closed  bool
}

// call is one call of Do. Whoever moves its state decides: the committer takes
// the item, or the caller gives up and the item is not committed.
type call[In, Out any] struct {
	in    In
	state atomic.Uint32
	done  chan Result[Out]
}

const (
	waiting uint32 = iota
	taken
	abandoned
)

// New makes a Committer. It panics if cfg.Commit is nil.
func New[In, Out any](cfg Config[In, Out]) *Committer[In, Out] {
	if cfg.Commit == nil {
		panic("groupcommit: Config.Commit is nil")
	}
	if cfg.MaxBatch <= 0 {
		cfg.MaxBatch = 256
	}
	if cfg.MaxQueue <= 0 {
		cfg.MaxQueue = 16 * cfg.MaxBatch
	}
	if cfg.Committers <= 0 {
		cfg.Committers = 1
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	c := &Committer[In, Out]{
		cfg:     cfg,
		queue:   make(chan *call[In, Out], cfg.MaxQueue),
		stopped: make(chan struct{}),
	}
	c.calls.New = func() any { return &call[In, Out]{done: make(chan Result[Out], 1)} }
	return c
}

// Do commits in together with what others commit at the time, and returns its
// result. When ctx ends first, Do returns ctx's error; the item may or may not
// be committed. One caller's end does not touch the others of its batch.
func (c *Committer[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	var zero Out
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	call := c.calls.Get().(*call[In, Out])
	call.in = in
	call.state.Store(waiting)
	if err := c.enqueue(ctx, call); err != nil {
		c.recycle(call)
		return zero, err
	}
	select {
	case r := <-call.done:
		c.recycle(call)
		return r.Out, r.Err
	case <-ctx.Done():
		call.state.CompareAndSwap(waiting, abandoned) // the queue still holds it: not recycled
		return zero, ctx.Err()
	}
}

func (c *Committer[In, Out]) recycle(call *call[In, Out]) {
	var zero In
	call.in = zero
	c.calls.Put(call)
}

func (c *Committer[In, Out]) enqueue(ctx context.Context, call *call[In, Out]) error {
	c.sending.RLock()
	defer c.sending.RUnlock()
	if c.closed {
		return ErrStopped
	}
	select {
	case c.queue <- call:
		return nil
	default:
	}
	if !c.cfg.Block {
		return ErrBusy
	}
	select {
	case c.queue <- call:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.stopped:
		return ErrStopped
	}
}
