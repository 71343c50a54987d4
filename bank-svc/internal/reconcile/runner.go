package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	lease     = 20 * time.Second
	pollEvery = 5 * time.Second
	firstWait = 200 * time.Millisecond
	maxWait   = 5 * time.Second
	// patience is how long a run goes on trying without getting any further.
	patience = 15 * time.Minute
)

// Config is what a Runner is made of. All but Observe is required.
type Config struct {
	Store    Store
	Source   Source
	NewID    func() string
	Interval time.Duration // between reconciliations; jittered by a tenth
	Logger   *slog.Logger
	Observe  func(Report) // called for each that ended here; may be nil
}

// Runner runs the reconciliations of a bank, one after the other. Any number of processes may run one on the same store: each
// reconciliation is done by one of them, and gone on with by another if that one dies.
type Runner struct {
	cfg  Config
	wake chan struct{}
}

// NewRunner makes a Runner.
func NewRunner(cfg Config) *Runner {
	if cfg.Observe == nil {
		cfg.Observe = func(Report) {}
	}
	return &Runner{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Request asks for a reconciliation, to run once those before it have ended. The same request id gets the same one.
//
// Errors: ErrTooMany, ErrRequestReused.
func (r *Runner) Request(ctx context.Context, dryRun bool, requestID string) (Report, error) {
	rep, _, err := r.cfg.Store.Request(ctx, r.report(OnRequest, dryRun), requestID, time.Time{})
	if err != nil {
		return Report{}, err
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return rep, nil
}

func (r *Runner) report(t Trigger, dryRun bool) Report {
	return Report{ID: r.cfg.NewID(), Status: Waiting, DryRun: dryRun, Trigger: t, RequestedAt: now()}
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Run reconciles at the start, at each interval and on request, until ctx ends. A run that is under way then is left to
// whoever claims it next.
func (r *Runner) Run(ctx context.Context) error {
	trigger, due := AtStart, time.Now()
	for ctx.Err() == nil {
		if !time.Now().Before(due) {
			if !r.schedule(ctx, trigger) {
				due = time.Now().Add(maxWait)
			} else {
				trigger, due = AtInterval, time.Now().Add(jitter(r.cfg.Interval, 10))
			}
		}
		r.drain(ctx)
		wait(ctx, r.wake, min(time.Until(due), jitter(pollEvery, 5)))
	}
	return nil
}

// schedule asks for the regular reconciliation, unless there is one already or another process has asked for it.
func (r *Runner) schedule(ctx context.Context, trigger Trigger) bool {
	since := now()
	if trigger == AtInterval {
		since = since.Add(-r.cfg.Interval / 2)
	}
	_, _, err := r.cfg.Store.Request(ctx, r.report(trigger, false), "", since)
	if err != nil && ctx.Err() == nil {
		r.cfg.Logger.WarnContext(ctx, "schedule a reconciliation", "error", err)
	}
	return err == nil || errors.Is(err, ErrTooMany)
}

// drain runs what waits, and cleans up.
func (r *Runner) drain(ctx context.Context) {
	for ctx.Err() == nil {
		run, ok, err := r.cfg.Store.Claim(ctx, lease)
		if err != nil && ctx.Err() == nil {
			r.cfg.Logger.WarnContext(ctx, "claim a reconciliation", "error", err)
		}
		if err != nil || !ok {
			break
		}
		r.work(ctx, run)
	}
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = r.cfg.Store.Sweep(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Logger.WarnContext(ctx, "sweep reconciliations", "error", err)
		}
	}
}

// work brings one run to its end. The run advances page by page; whatever fails is tried again, for a while. A page that was
// stored although we were told that it was not does no harm when it is stored again.
func (r *Runner) work(ctx context.Context, run Run) {
	log := r.cfg.Logger.With("reconciliation_id", run.ID, "trigger", run.Trigger, "dry_run", run.DryRun)
	log.InfoContext(ctx, "reconciliation runs", "employees_checked", run.EmployeesChecked)
	progress, pause := time.Now(), firstWait
	for !run.Walked {
		next, err := r.step(ctx, run)
		switch {
		case err == nil:
			run, progress, pause = next, time.Now(), firstWait
			continue
		case errors.Is(err, ErrLost):
			log.InfoContext(ctx, "reconciliation goes on elsewhere")
			return
		case ctx.Err() != nil:
			r.release(ctx, run)
			return
		case time.Since(progress) > patience:
			r.finish(ctx, log, run, err.Error())
			return
		}
		log.WarnContext(ctx, "reconciliation waits", "error", err)
		if err := r.cfg.Store.Hold(ctx, run, lease, err.Error()); errors.Is(err, ErrLost) {
			return
		}
		wait(ctx, nil, jitter(pause, 2))
		pause = min(2*pause, maxWait)
	}
	r.finish(ctx, log, run, "")
}

func (r *Runner) step(ctx context.Context, run Run) (Run, error) {
	page, err := r.cfg.Source.Page(ctx, run.PageToken)
	if err != nil {
		return run, fmt.Errorf("read employees: %w", err)
	}
	return r.cfg.Store.Advance(ctx, run, page, lease)
}

func (r *Runner) finish(ctx context.Context, log *slog.Logger, run Run, failure string) {
	rep, err := r.cfg.Store.Finish(ctx, run, failure)
	if err != nil {
		// The lease ends by itself, and whoever claims the run then finishes it.
		log.WarnContext(ctx, "finish a reconciliation", "error", err)
		return
	}
	log.InfoContext(ctx, "reconciliation ended", "status", rep.Status, "employees_checked", rep.EmployeesChecked, "accounts_opened", rep.AccountsOpened,
		"accounts_updated", rep.AccountsUpdated, "accounts_closed", rep.AccountsClosed, "accounts_orphaned", rep.AccountsOrphaned, "error", failure)
	r.cfg.Observe(rep)
}

// release lets another process go on at once.
func (r *Runner) release(ctx context.Context, run Run) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := r.cfg.Store.Hold(ctx, run, 0, "stopping"); err != nil && !errors.Is(err, ErrLost) {
		r.cfg.Logger.WarnContext(ctx, "release a reconciliation", "error", err)
	}
}

// jitter is d, give or take up to 1/part of it.
func jitter(d time.Duration, part int64) time.Duration {
	spread := d / time.Duration(part)
	return d - spread + rand.N(2*spread+1) //nolint:gosec // Spreads load; nothing depends on its being unguessable.
}

func wait(ctx context.Context, early <-chan struct{}, d time.Duration) {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-early:
	case <-t.C:
	}
}
