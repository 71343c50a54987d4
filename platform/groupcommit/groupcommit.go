// Package groupcommit lets concurrent callers share commits: while one batch
// commits the next one gathers, so that the cost of a commit is paid once for
// all who wait, and a lone caller waits for nobody.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// Errors that Do returns besides those of the commit function.
var (
	// ErrBusy means that the queue is full; the item was not committed.
	ErrBusy = errors.New("too many waiting")
	// ErrStopped means that Run has ended; the item was not committed.
	ErrStopped = errors.New("stopped")
)

// PanicError is what the callers of a batch get whose commit function panicked.
// Whether the batch committed is unknown.
type PanicError struct {
	Value any
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
	// Committers is how many batches may commit at the same time; default 1.
	Committers int
	// Block makes Do wait for room in a full queue instead of returning ErrBusy.
	Block bool
}

// Committer gathers concurrent calls of Do into batches. Run must be running.
type Committer[In, Out any] struct {
	cfg     Config[In, Out]
	queue   chan *call[In, Out]
	stopped chan struct{}
	mu      sync.RWMutex // held for reading while sending, so Run can see the last send
	closed  bool
}

type call[In, Out any] struct {
	in   In
	done chan Result[Out]
}

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
	return &Committer[In, Out]{
		cfg:     cfg,
		queue:   make(chan *call[In, Out], cfg.MaxQueue),
		stopped: make(chan struct{}),
	}
}

// Do commits in together with what others commit at the time, and returns its
// result. When ctx ends first, Do returns its error and the item may or may
// not be committed.
func (c *Committer[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	var zero Out
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	call := &call[In, Out]{in: in, done: make(chan Result[Out], 1)}
	if err := c.enqueue(ctx, call); err != nil {
		return zero, err
	}
	select {
	case r := <-call.done:
		return r.Out, r.Err
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}

func (c *Committer[In, Out]) enqueue(ctx context.Context, call *call[In, Out]) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
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

// Run commits until ctx ends, then what is queued, and returns nil. Commits
// run under a context that does not end with ctx: bound them yourself.
func (c *Committer[In, Out]) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range c.cfg.Committers {
		wg.Go(func() { c.commitUntilClosed(context.WithoutCancel(ctx)) })
	}
	<-ctx.Done()
	close(c.stopped)
	c.mu.Lock()
	c.closed = true
	close(c.queue)
	c.mu.Unlock()
	wg.Wait()
	return nil
}

func (c *Committer[In, Out]) commitUntilClosed(ctx context.Context) {
	calls := make([]*call[In, Out], 0, c.cfg.MaxBatch)
	batch := make([]In, 0, c.cfg.MaxBatch)
	for first := range c.queue {
		calls = append(calls, first)
	gather:
		for len(calls) < c.cfg.MaxBatch {
			select {
			case next, ok := <-c.queue:
				if !ok {
					break gather
				}
				calls = append(calls, next)
			default:
				break gather
			}
		}
		for _, call := range calls {
			batch = append(batch, call.in)
		}
		results, err := c.commit(ctx, batch)
		for i, call := range calls {
			if err != nil {
				call.done <- Result[Out]{Err: err}
			} else {
				call.done <- results[i]
			}
		}
		clear(calls)
		clear(batch)
		calls, batch = calls[:0], batch[:0]
	}
}

func (c *Committer[In, Out]) commit(ctx context.Context, batch []In) (results []Result[Out], err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	results = c.cfg.Commit(ctx, batch)
	if len(results) != len(batch) {
		return nil, fmt.Errorf("commit returned %d results for %d items", len(results), len(batch))
	}
	return results, nil
}
