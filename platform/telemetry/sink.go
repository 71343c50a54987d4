package telemetry

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
)

// Sink is a writer that never blocks: it queues what is written and drops it
// when the queue is full, so a reader that has stopped reading our output
// cannot stop the service. Each Write must be one whole record.
type Sink struct {
	w    io.Writer
	done chan struct{}

	mu     sync.Mutex
	queued int
	buf    []byte
	wake   chan struct{}
	closed bool
}

const maxQueued = 1 << 20 // bytes

// dropped is how many writes the sinks of this process have dropped.
var dropped atomic.Uint64

// NewSink starts a Sink in front of w. Close ends it.
func NewSink(w io.Writer) *Sink {
	s := &Sink{w: w, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	go s.drain()
	return s
}

// Write queues p or drops it. It never fails.
func (s *Sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	ok := !s.closed && s.queued+len(p) <= maxQueued
	if ok {
		s.buf = append(s.buf, p...)
		s.queued += len(p)
	}
	s.mu.Unlock()
	if !ok {
		dropped.Add(1)
		return len(p), nil
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return len(p), nil
}

// Close writes what is queued and ends the Sink. It gives up when ctx ends,
// since the writer behind it may be blocked for ever.
func (s *Sink) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.wake)
	}
	s.mu.Unlock()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Sink) drain() {
	defer close(s.done)
	var out []byte
	for {
		_, open := <-s.wake
		for {
			s.mu.Lock()
			out, s.buf = s.buf, out[:0]
			s.mu.Unlock()
			if len(out) == 0 {
				break
			}
			_, _ = s.w.Write(out)
			s.mu.Lock()
			s.queued -= len(out)
			s.mu.Unlock()
		}
		if !open {
			return
		}
	}
}
