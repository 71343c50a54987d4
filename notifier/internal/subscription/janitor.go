package subscription

import (
	"context"
	"log/slog"
	"time"
)

// Janitor finishes what deleting subscriptions left to do, and forgets what has served its time.
type Janitor struct {
	store     Store
	now       func() time.Time
	retention time.Duration
	also      []func(context.Context) error
	log       *slog.Logger
	wake      chan struct{}
}

// NewJanitor makes a Janitor. Retention is how long deleted subscriptions and requests are remembered; also is done each
// time that the Janitor forgets.
func NewJanitor(store Store, now func() time.Time, retention time.Duration, log *slog.Logger, also ...func(context.Context) error) *Janitor {
	return &Janitor{store, now, retention, also, log, make(chan struct{}, 1)}
}

const (
	cancelEvery  = 5 * time.Second
	cancelAtOnce = 1000
	forgetEvery  = 5 * time.Minute
)

// Wake makes the Janitor look for deleted subscriptions now.
func (j *Janitor) Wake() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends.
func (j *Janitor) Run(ctx context.Context) error {
	cancel, forget := time.NewTicker(cancelEvery), time.NewTicker(forgetEvery)
	defer cancel.Stop()
	defer forget.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-j.wake:
			err = j.cancel(ctx)
		case <-cancel.C:
			err = j.cancel(ctx)
		case <-forget.C:
			err = j.forget(ctx)
		}
		if err != nil && ctx.Err() == nil {
			j.log.WarnContext(ctx, "cleaning up after subscriptions", "error", err)
		}
	}
}

func (j *Janitor) cancel(ctx context.Context) error {
	for ctx.Err() == nil {
		n, err := j.store.CancelPending(ctx, cancelAtOnce)
		if err != nil || n == 0 {
			return err
		}
	}
	return nil
}

func (j *Janitor) forget(ctx context.Context) error {
	now := j.now()
	if err := j.store.Forget(ctx, now, now.Add(-j.retention)); err != nil {
		return err
	}
	for _, do := range j.also {
		if err := do(ctx); err != nil {
			return err
		}
	}
	return nil
}
