package retention_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/notifier/internal/retention"
)

type store struct {
	made, cleared, removed []time.Time
	payloads, history      []time.Duration // ages of the limits
	broken                 bool
}

func (s *store) MakePartitions(context.Context) error {
	s.made = append(s.made, time.Now())
	if s.broken {
		return errors.New("no lock")
	}
	return nil
}

func (s *store) RemoveOld(_ context.Context, before time.Time) (retention.Removed, error) {
	s.removed = append(s.removed, time.Now())
	s.history = append(s.history, time.Since(before))
	return retention.Removed{Rows: 1}, nil
}

func (s *store) ClearPayloads(_ context.Context, before time.Time) (int64, error) {
	s.cleared = append(s.cleared, time.Now())
	s.payloads = append(s.payloads, time.Since(before))
	if s.broken {
		return 0, errors.New("away")
	}
	return 1, nil
}

func (s *store) Now() time.Time { return time.Now() }

func run(t *testing.T, conf retention.Config, s *store, hours int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(hours)*time.Hour)
	defer cancel()
	if err := retention.New(conf, s, slog.New(slog.DiscardHandler)).Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestRemovesAtOnceAndThenNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		began := time.Now()
		run(t, retention.Config{Retention: 720 * time.Hour, PayloadRetention: 24 * time.Hour}, s, 24)
		if len(s.removed) < 100 || len(s.removed) > 200 || !s.removed[0].Equal(began) {
			t.Errorf("%d times in a day, the first at %v", len(s.removed), s.removed[0])
		}
		if len(s.made) != len(s.removed) || len(s.cleared) != len(s.removed) {
			t.Errorf("%d, %d and %d times", len(s.made), len(s.cleared), len(s.removed))
		}
		if s.history[0] != 720*time.Hour || s.payloads[0] != 24*time.Hour {
			t.Errorf("%s and %s", s.history[0], s.payloads[0])
		}
	})
}

// A step that fails keeps no other from being done, and payloads that are kept as long as the rest need no step of their own.
func TestStepsAreIndependent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{broken: true}
		run(t, retention.Config{Retention: 720 * time.Hour, PayloadRetention: 24 * time.Hour}, s, 1)
		if len(s.removed) == 0 || len(s.removed) != len(s.made) {
			t.Errorf("%d and %d times", len(s.made), len(s.removed))
		}
		s = &store{}
		run(t, retention.Config{Retention: 720 * time.Hour, PayloadRetention: 720 * time.Hour}, s, 1)
		if len(s.cleared) != 0 || len(s.removed) == 0 {
			t.Errorf("%d payload steps", len(s.cleared))
		}
	})
}
