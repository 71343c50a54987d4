package serve_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"hirewire.dev/platform/serve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// record notes what happens, in order.
type record struct {
	mu    sync.Mutex
	notes []string
}

func (r *record) add(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, s)
}

func (r *record) get() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.notes...)
}

func TestGroupStopsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{}
		health := serve.NewHealth(quiet)
		health.Watch(func(ready bool) {
			if ready {
				r.add("ready")
			} else {
				r.add("not ready")
			}
		})
		g := serve.NewGroup(quiet, health)
		part := func(name string, takes time.Duration) func(context.Context) error {
			return func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(takes)
				r.add(name + " stopped")
				return ctx.Err() // as good as nil
			}
		}
		g.Add("worker 1", part("worker", 2*time.Second))
		g.AddServer("grpc", part("grpc", 3*time.Second))
		g.AddServer("http", part("http", time.Second))
		g.AddClose("database", func() error { r.add("database closed"); return nil })
		g.AddClose("cache", func() error { r.add("cache closed"); return nil })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("a clean stop: %v", err)
		}
		want := []string{"not ready", "ready", "not ready", "http stopped", "grpc stopped", "worker stopped", "cache closed", "database closed"}
		if diff := cmp.Diff(want, r.get()); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestGroupGivesEachStageItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hang := func(context.Context) error {
			<-release
			return nil
		}
		closed := false
		g := serve.NewGroup(quiet, nil)
		g.AddServer("server", hang)
		g.Add("worker", hang)
		g.AddClose("database", func() error { closed = true; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		err := g.Run(ctx)
		if !errors.Is(err, serve.ErrStopTimeout) || !strings.Contains(err.Error(), "server: ") || !strings.Contains(err.Error(), "worker: ") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > serve.StopLimit {
			t.Errorf("took %v", took)
		}
		if !closed {
			t.Error("the database was not closed")
		}
		close(release)
	})
}

func TestGroupStopsWhenAPartFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		g := serve.NewGroup(quiet, nil)
		stopped := false
		g.AddServer("http", func(ctx context.Context) error {
			<-ctx.Done()
			stopped = true
			return nil
		})
		g.Add("once", func(context.Context) error { return nil }) // ends alone
		g.Add("relay", func(context.Context) error {
			time.Sleep(time.Second)
			return broken
		})
		if err := g.Run(t.Context()); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "relay: ") {
			t.Errorf("got %v", err)
		}
		if !stopped {
			t.Error("the server goes on")
		}
	})
}

func TestGroupFailsWhenAServerStopsByItself(t *testing.T) {
	g := serve.NewGroup(quiet, nil)
	g.AddServer("http", func(context.Context) error { return nil })
	if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "http") {
		t.Errorf("got %v", err)
	}
}

func TestGroupIsNotReadyWhileItStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		health := serve.NewHealth(quiet)
		g := serve.NewGroup(quiet, health)
		g.AddServer("http", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(2 * time.Second) // finishes what is in flight
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		cancel()
		time.Sleep(time.Second)
		if ok, failing := health.Ready(); ok || failing[0] != "stopping" || len(done) > 0 {
			t.Errorf("while stopping: %v %v", ok, failing)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
