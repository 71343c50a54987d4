package replay

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/schema"
	"hirewire.dev/notifier/internal/subscription"
)

const (
	// leaseTime is for how long a step may be silent until another replica takes the job over.
	leaseTime = 15 * time.Second
	// stepTime bounds a step; a lease outlasts it.
	stepTime = 10 * time.Second
	// idleWait is how often it looks for jobs that nobody told of.
	idleWait = 2 * time.Second
	// stepSize is how many events a step looks at.
	stepSize = 500
	// maxPending is how many deliveries of its subscription a replay lets be pending: so that what waits stays small, and is
	// sent in its time, however long the past is.
	maxPending = 5000
	// paceTime is how long the work of one step of a rate-limited replay lasts.
	paceTime = 200 * time.Millisecond
)

// Runner works on replays, one step at a time: whichever is due for longest, its own or another replica's.
type Runner struct {
	store     Store
	snapshots delivery.Snapshots
	candidate func(*event.Event) *subscription.Candidate
	due       func(subscriptionID string)
	log       *slog.Logger
	wake      chan struct{}
}

// NewRunner makes a Runner. candidate shows an event to a subscription's filter; due is told of subscriptions that have new
// deliveries to send.
func NewRunner(store Store, snapshots delivery.Snapshots, candidate func(*event.Event) *subscription.Candidate, due func(subscriptionID string), log *slog.Logger) *Runner {
	return &Runner{store, snapshots, candidate, due, log, make(chan struct{}, 1)}
}

// Wake makes the Runner look for jobs now.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends. A step under way is finished first: broken off, its lease would keep the job from others for
// leaseTime.
func (r *Runner) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.wake:
		}
		wait, err := r.lastingWork(ctx)
		if err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "a step of a replay came to nothing", "error", err)
			wait = idleWait/2 + rand.N(idleWait) //nolint:gosec // Jitter is no secret.
		}
		timer.Reset(wait)
	}
}

// lastingWork works past the end of ctx, for stepTime at most.
func (r *Runner) lastingWork(ctx context.Context) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTime)
	defer cancel()
	return r.work(ctx)
}

// work does one step of one job, and says when to look again.
func (r *Runner) work(ctx context.Context) (wait time.Duration, err error) {
	job, next, err := r.store.LeaseReplay(ctx, rand.Int64N(1<<62)+1, leaseTime) //nolint:gosec // A fence is no secret.
	if err != nil {
		return 0, err
	}
	if job == nil {
		if next <= 0 || next > idleWait {
			next = idleWait
		}
		return next, nil
	}
	err = r.step(ctx, job)
	if errors.Is(err, ErrGone) {
		err = r.store.Fail(ctx, job, ErrGone.Error())
	}
	if errors.Is(err, ErrLost) {
		err = nil // cancelled, or another replica's
	}
	return 0, err
}

func (r *Runner) step(ctx context.Context, j *Job) error {
	target, err := r.target(ctx, j.SubscriptionID)
	if err != nil {
		return err
	}
	if !j.Counted {
		return r.count(ctx, j, target)
	}
	return r.send(ctx, j, target)
}

func (r *Runner) target(ctx context.Context, id string) (*subscription.Target, error) {
	if t := r.snapshots.Current().Targets[id]; t != nil {
		return t, nil
	}
	s, err := r.snapshots.Reload(ctx)
	if err != nil {
		return nil, err
	}
	if t := s.Targets[id]; t != nil {
		return t, nil
	}
	return nil, ErrGone
}

func (r *Runner) count(ctx context.Context, j *Job, t *subscription.Target) error {
	matched, to, err := r.next(ctx, j, t, j.CountedTo, stepSize)
	if err != nil {
		return err
	}
	j.Counting += int64(len(matched))
	j.CountedTo = to
	if to >= j.EndPosition {
		j.Counted, j.Total = true, j.Counting
	}
	return r.store.Count(ctx, j)
}

func (r *Runner) send(ctx context.Context, j *Job, t *subscription.Target) error {
	size := stepSize
	if j.RatePerSec > 0 {
		size = min(size, max(1, int(int64(j.RatePerSec)*int64(paceTime)/int64(time.Second))))
	}
	matched, to, err := r.next(ctx, j, t, j.SentTo, size)
	if err != nil {
		return err
	}
	j.SentTo = to
	j.Done += int64(len(matched))
	var pace time.Duration
	if j.RatePerSec > 0 {
		pace = time.Duration(len(matched)) * time.Second / time.Duration(j.RatePerSec)
	}
	full, err := r.store.Send(ctx, j, matched, maxPending, pace)
	if err != nil {
		return err
	}
	if !full && len(matched) > 0 {
		r.due(j.SubscriptionID)
	}
	return nil
}

// next gives the next events behind a position that the job is about, at most limit; to is how far it looked.
func (r *Runner) next(ctx context.Context, j *Job, t *subscription.Target, after int64, limit int) (matched []*event.Event, to int64, err error) {
	events, to, err := r.store.ReplayEvents(ctx, j, after, stepSize, t.Filter != "")
	if err != nil {
		return nil, 0, err
	}
	for _, e := range events {
		if _, err := schema.Lookup(e.Type); err != nil {
			continue // the notifier's own, for one subscription alone
		}
		if j.wants(e.Type) && t.Match(r.candidate(e)) {
			matched = append(matched, e)
		}
	}
	if len(j.Statuses) > 0 && len(matched) > 0 {
		ends, err := r.store.DeliveryEnds(ctx, j, matched)
		if err != nil {
			return nil, 0, err
		}
		matched = slices.DeleteFunc(matched, func(e *event.Event) bool {
			end, ok := ends[e.ID]
			return !ok || !slices.Contains(j.Statuses, end)
		})
	}
	if len(matched) > limit {
		matched = matched[:limit]
		to = matched[limit-1].Position
	}
	return matched, to, nil
}
