package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// The time each stage of the stop may take; together with the second signal's they stay below 10 s.
const (
	ServerStopTimeout = 4 * time.Second // listeners: finish what is in flight
	WorkerStopTimeout = 4 * time.Second // workers: release what they hold
	CloseTimeout      = 1 * time.Second // databases
)

// ErrStopTimeout is in the error of Group.Run when something did not stop in its time.
var ErrStopTimeout = errors.New("did not stop in time")

// Group runs the parts of one service. Add everything, then Run once.
type Group struct {
	log     *slog.Logger
	health  *Health
	servers []task
	workers []task
	closers []task
}

type task struct {
	name string
	run  func(context.Context) error
}

// NewGroup makes an empty group. health may be nil; log nil is slog.Default().
func NewGroup(log *slog.Logger, health *Health) *Group {
	if log == nil {
		log = slog.Default()
	}
	if health == nil {
		health = NewHealth(log)
	}
	return &Group{log: log, health: health}
}

// AddServer adds what takes calls from outside, such as HTTP.Run and GRPC.Run: stopped first, together.
// run blocks until its context ends and then returns nil after finishing what is in flight.
func (g *Group) AddServer(name string, run func(ctx context.Context) error) {
	g.servers = append(g.servers, task{name, run})
}

// Add adds background work: stopped together when all servers have stopped. run blocks until its context ends and then
// returns nil; an error stops the whole group. Returning nil earlier is the end of that worker alone.
func (g *Group) Add(name string, run func(ctx context.Context) error) {
	g.workers = append(g.workers, task{name, run})
}

// AddClose adds what is closed last, the latest added first.
func (g *Group) AddClose(name string, closer func() error) {
	g.closers = append(g.closers, task{name, func(context.Context) error { return closer() }})
}

// Run runs everything until ctx ends or a part fails, then stops in order. It returns nil after a clean stop that ctx
// asked for; otherwise the joined errors, each with the name of its part.
func (g *Group) Run(ctx context.Context) error {
	failed := make(chan struct{})
	var once sync.Once
	fail := func() { once.Do(func() { close(failed) }) }

	base := context.WithoutCancel(ctx)
	health := g.start(base, []task{{"health", g.health.Run}}, fail, false)
	workers := g.start(base, g.workers, fail, false)
	servers := g.start(base, g.servers, fail, true)
	g.health.started()

	select {
	case <-ctx.Done():
	case <-failed:
	}
	g.health.drain()
	health.cancel() // its checks may hang; they have until the closers to notice
	errs := []error{servers.stop(ServerStopTimeout), workers.stop(WorkerStopTimeout)}
	if err := health.wait(CloseTimeout); err != nil {
		g.log.Warn("a readiness check still hangs", "error", err)
	}
	for _, c := range slices.Backward(g.closers) {
		errs = append(errs, g.start(base, []task{c}, fail, false).wait(CloseTimeout))
	}
	return errors.Join(errs...)
}

func wait(early <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-early:
	}
}

// stage is a set of running tasks that stop together.
type stage struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	running map[string]int
	errs    []error
}

// start runs the tasks; with mustStay, returning before the stop is a failure even without an error.
func (g *Group) start(ctx context.Context, tasks []task, fail func(), mustStay bool) *stage {
	ctx, cancel := context.WithCancel(ctx)
	s := &stage{cancel: cancel, done: make(chan struct{}), running: make(map[string]int)}
	var wg sync.WaitGroup
	for _, t := range tasks {
		s.running[t.name]++
	}
	for _, t := range tasks {
		wg.Go(func() {
			err := t.run(ctx)
			early := ctx.Err() == nil
			if err == nil && early && mustStay {
				err = errors.New("stopped by itself")
			}
			if !early && errors.Is(err, context.Canceled) {
				err = nil
			}
			s.ended(t.name, err)
			if err != nil {
				g.log.Error("a part failed: stopping", "part", t.name) // with what, Run returns
				fail()
			}
		})
	}
	go func() {
		wg.Wait()
		cancel()
		close(s.done)
	}()
	return s
}

func (s *stage) ended(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[name]--; s.running[name] == 0 {
		delete(s.running, name)
	}
	if err != nil {
		s.errs = append(s.errs, fmt.Errorf("%s: %w", name, err))
	}
}

func (s *stage) stop(limit time.Duration) error {
	s.cancel()
	return s.wait(limit)
}

func (s *stage) wait(limit time.Duration) error {
	wait(s.done, limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := s.errs
	for name := range s.running {
		errs = append(errs, fmt.Errorf("%s: %w", name, ErrStopTimeout))
	}
	return errors.Join(errs...)
}
