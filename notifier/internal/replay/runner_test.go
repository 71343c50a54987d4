package replay_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/filter"
	"hirewire.dev/notifier/internal/replay"
	"hirewire.dev/notifier/internal/subscription"
)

// store is one job over a feed of employee.updated events, in memory.
type store struct {
	replay.Store // what the runner does not use

	mu      sync.Mutex
	job     *replay.Job
	due     time.Time
	events  int64
	sent    []int64
	at      []time.Time
	full    int // how often there is no room
	broken  int // how often the database is away
	failure string
}

var errAway = errors.New("the database is away")

func (s *store) LeaseReplay(context.Context, int64, time.Duration) (*replay.Job, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.job == nil || s.job.Status != replay.Running {
		return nil, 0, nil
	}
	if wait := time.Until(s.due); wait > 0 {
		return nil, wait, nil
	}
	if s.broken > 0 {
		s.broken--
		return nil, 0, errAway
	}
	j := *s.job
	j.DueAt = s.due
	return &j, 0, nil
}

func (s *store) ReplayEvents(_ context.Context, j *replay.Job, after int64, limit int, _ bool) (events []*event.Event, to int64, err error) {
	for p := after + 1; p <= j.EndPosition && len(events) < limit; p++ {
		events = append(events, &event.Event{Type: "employee.updated", Position: p, EmployeeID: "emp_1", Version: p})
		to = p
	}
	return events, max(to, after), nil
}

func (s *store) Count(_ context.Context, j *replay.Job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.job = *j
	if j.Counted && j.DryRun {
		s.job.Status = replay.Succeeded
	}
	return nil
}

func (s *store) Send(_ context.Context, j *replay.Job, events []*event.Event, _ int, pace time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full > 0 {
		s.full--
		s.due = time.Now().Add(time.Second)
		return true, nil
	}
	*s.job = *j
	for _, e := range events {
		s.sent = append(s.sent, e.Position)
		s.at = append(s.at, time.Now())
	}
	if s.due = time.Now(); pace > 0 {
		s.due = j.DueAt.Add(pace)
	}
	if j.SentTo >= j.EndPosition {
		s.job.Status = replay.Succeeded
	}
	return false, nil
}

func (s *store) Fail(_ context.Context, _ *replay.Job, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.job.Status, s.failure = replay.Failed, reason
	return nil
}

func (s *store) status() replay.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.job.Status
}

type snapshots struct{ now *subscription.Snapshot }

func (s snapshots) Current() *subscription.Snapshot                        { return s.now }
func (s snapshots) Reload(context.Context) (*subscription.Snapshot, error) { return s.now, nil }
func (s snapshots) Changed() <-chan struct{}                               { return nil }

var _ delivery.Snapshots = snapshots{}

func even(c *subscription.Candidate) bool { return c.Version%2 == 0 }

// run works on a job until it has ended.
func run(t *testing.T, s *store, known bool) (due int) {
	t.Helper()
	snap := &subscription.Snapshot{Targets: map[string]*subscription.Target{}}
	if known {
		snap.Targets["sub_1"] = &subscription.Target{Subscription: subscription.Subscription{ID: "sub_1"}, Match: even}
	}
	r := replay.NewRunner(s, snapshots{snap}, filter.Candidate, func(id string) {
		if id != "sub_1" {
			t.Errorf("due: %s", id)
		}
		due++
	}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	for s.status() == replay.Running {
		time.Sleep(100 * time.Millisecond)
	}
	cancel()
	<-ended
	return due
}

func job(events int64, edit func(*replay.Job)) *store {
	j := &replay.Job{Replay: replay.Replay{ID: "rpl_1", SubscriptionID: "sub_1", Status: replay.Running}, EndPosition: events}
	if edit != nil {
		edit(j)
	}
	return &store{job: j, events: events, due: time.Now()}
}

func TestRunnerSendsWhatMatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := job(3000, nil)
		s.full, s.broken = 2, 3
		if due := run(t, s, true); due == 0 {
			t.Error("nobody was told")
		}
		if s.job.Total != 1500 || s.job.Done != 1500 || len(s.sent) != 1500 {
			t.Errorf("%+v, %d sent", s.job, len(s.sent))
		}
		if !slices.IsSorted(s.sent) || s.sent[0] != 2 || slices.ContainsFunc(s.sent, func(p int64) bool { return p%2 != 0 }) {
			t.Error("not in order, or not what matches")
		}
	})
}

func TestRunnerKeepsTheRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := job(1000, func(j *replay.Job) { j.RatePerSec = 50 })
		run(t, s, true)
		took := s.at[len(s.at)-1].Sub(s.at[0])
		if len(s.sent) != 500 || took < 9500*time.Millisecond || took > 10500*time.Millisecond {
			t.Errorf("%d at 50/s took %s", len(s.sent), took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := job(10, func(j *replay.Job) { j.RatePerSec = 1 })
		run(t, s, true)
		if took := s.at[4].Sub(s.at[0]); len(s.sent) != 5 || took < 3900*time.Millisecond || took > 4500*time.Millisecond {
			t.Errorf("%d at 1/s took %s", len(s.sent), took)
		}
	})
}

func TestRunnerOnlyCountsADryRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := job(1201, func(j *replay.Job) { j.DryRun = true })
		if due := run(t, s, true); due != 0 || s.job.Total != 600 || s.job.Done != 0 || len(s.sent) != 0 || s.job.Status != replay.Succeeded {
			t.Errorf("%+v, %d sent", s.job, len(s.sent))
		}
	})
}

func TestRunnerFailsWithoutItsSubscription(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := job(10, nil)
		run(t, s, false)
		if s.job.Status != replay.Failed || s.failure != "the subscription was deleted" {
			t.Errorf("%+v, %s", s.job, s.failure)
		}
	})
}

// What comes to a service is checked before anything is stored.
func TestServiceChecks(t *testing.T) {
	t.Parallel()
	s := replay.NewService(&creating{}, everybody{}, []string{"employee.created"}, func(p string) string { return p + "_1" }, time.Now, func() {})
	for field, r := range map[string]replay.Replay{
		"replay.subscription_id":       {},
		"replay.event_types[0]":        {SubscriptionID: "sub_1", EventTypes: []string{"*"}},
		"replay.end_time":              {SubscriptionID: "sub_1", Start: time.Unix(2, 0), End: time.Unix(2, 0)},
		"replay.rate_limit_per_second": {SubscriptionID: "sub_1", RatePerSec: -1},
		"replay.delivery_statuses[0]":  {SubscriptionID: "sub_1", Statuses: []delivery.Status{delivery.Pending}},
	} {
		_, err := s.Create(t.Context(), access.Caller{Name: "a"}, r, "")
		if invalid, ok := errors.AsType[*replay.InvalidError](err); !ok || invalid.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if r, err := s.Create(t.Context(), access.Caller{Name: "a"}, replay.Replay{SubscriptionID: "sub_1", EventTypes: []string{"employee.*"}}, "r"); err != nil || r.Status != replay.Running || r.Total != -1 {
		t.Errorf("%+v, %v", r, err)
	}
}

type everybody struct{}

func (everybody) Visible(context.Context, access.Caller, string) error { return nil }

type creating struct{ replay.Store }

func (*creating) CreateReplay(context.Context, replay.Replay, access.Request, audit.Entry) (*access.Request, error) {
	return nil, nil
}
