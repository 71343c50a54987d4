package groupcommit

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// Run commits until ctx ends, then commits what is queued, and returns nil.
// Commits run under a context that does not end with ctx but after
// Config.Timeout. Call Run once.
func (c *Committer[In, Out]) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range c.cfg.Committers {
		wg.Go(func() { c.work(context.WithoutCancel(ctx)) })
	}
	<-ctx.Done()
	close(c.stopped)
	c.sending.Lock()
	c.closed = true
	close(c.queue)
	c.sending.Unlock()
	wg.Wait()
	return nil
}

// batch is what one committer works on; its slices are used again.
type batch[In, Out any] struct {
	calls []*call[In, Out]
	items []In
}

// work commits batches until the queue is closed and empty.
func (c *Committer[In, Out]) work(ctx context.Context) {
	b := &batch[In, Out]{}
	for first := range c.queue {
		b.take(first)
		c.gather(b)
		if len(b.calls) > 0 {
			c.commit(ctx, b)
			// Those who were just answered and ask again at once share the next batch.
			runtime.Gosched()
		}
	}
}

// take adds a call unless its caller has given up.
func (b *batch[In, Out]) take(call *call[In, Out]) {
	if call.state.CompareAndSwap(waiting, taken) {
		b.calls = append(b.calls, call)
		b.items = append(b.items, call.in)
	}
}

// gather takes what waits, up to a full batch.
func (c *Committer[In, Out]) gather(b *batch[In, Out]) {
	for len(b.calls) < c.cfg.MaxBatch {
		select {
		case call, ok := <-c.queue:
			if !ok {
				return
			}
			b.take(call)
		default:
			return
		}
	}
}

func (c *Committer[In, Out]) commit(ctx context.Context, b *batch[In, Out]) {
	started := time.Now()
	results, err := c.call(ctx, b.items)
	for i, call := range b.calls {
		if err != nil {
			call.done <- Result[Out]{Err: err}
		} else {
			call.done <- results[i]
		}
	}
	if c.cfg.Observe != nil {
		c.cfg.Observe(len(b.calls), time.Since(started))
	}
	clear(b.calls)
	clear(b.items)
	b.calls, b.items = b.calls[:0], b.items[:0]
}

// call calls the commit function and contains its panics.
func (c *Committer[In, Out]) call(ctx context.Context, items []In) (results []Result[Out], err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	results = c.cfg.Commit(ctx, items)
	if len(results) != len(items) {
		return nil, fmt.Errorf("commit returned %d results for %d items", len(results), len(items))
	}
	return results, nil
}
