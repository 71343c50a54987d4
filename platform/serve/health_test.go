package serve_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/platform/serve"
)

func TestReadinessTurnsWithinTwoSeconds(t *testing.T) {
	for name, broken := range map[string]func(context.Context) error{
		"an error": func(context.Context) error { return errors.New("down at 10.0.0.1") },
		"a hang": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"a hang without ear": func(context.Context) error {
			time.Sleep(time.Minute)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var down atomic.Bool
				health := serve.NewHealth(quiet)
				health.Add("database", func(ctx context.Context) error {
					if down.Load() {
						return broken(ctx)
					}
					return nil
				})
				health.Add("other", func(context.Context) error { return nil })
				var state atomic.Bool
				health.Watch(state.Store)
				if ok, failing := health.Ready(); ok || !cmp.Equal(failing, []string{"starting", "database", "other"}) {
					t.Errorf("before the start: %v %v", ok, failing)
				}
				g := serve.NewGroup(quiet, health)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- g.Run(ctx) }()
				synctest.Wait()
				if ok, failing := health.Ready(); !ok || !state.Load() {
					t.Errorf("running: %v", failing)
				}
				time.Sleep(700 * time.Millisecond)
				down.Store(true)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if ok, failing := health.Ready(); ok || state.Load() || !cmp.Equal(failing, []string{"database"}) {
					t.Errorf("2 s after: %v %v", ok, failing)
				}
				down.Store(false)
				time.Sleep(time.Minute)
				synctest.Wait()
				if ok, failing := health.Ready(); !ok {
					t.Errorf("after it came back: %v", failing)
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
