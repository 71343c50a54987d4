package subscription

import (
	"context"
	"time"

	"hirewire.dev/notifier/internal/access"
)

// Delete ends a subscription for good and cancels its pending deliveries.
//
// Errors: ErrNotFound.
func (s *Service) Delete(ctx context.Context, by access.Caller, id string) error {
	_, err := s.update(ctx, by, id, "DeleteSubscription", func(r *Record, now time.Time) error {
		r.DeletedAt, r.Keys, r.Challenge.DueAt = now, nil, time.Time{}
		return nil
	})
	return err
}

// Pause holds a subscription's events until it is resumed. Pausing twice is no harm.
//
// Errors: ErrNotFound.
func (s *Service) Pause(ctx context.Context, by access.Caller, id string) (Record, error) {
	return s.update(ctx, by, id, "PauseSubscription", func(r *Record, _ time.Time) error {
		if r.Status == Paused {
			return errUnchanged
		}
		r.hold(Paused, "paused by "+by.Name)
		return nil
	})
}

// Resume delivers again, beginning with what was held. Resuming what is not held is no harm.
//
// Errors: ErrNotFound.
func (s *Service) Resume(ctx context.Context, by access.Caller, id string) (Record, error) {
	return s.update(ctx, by, id, "ResumeSubscription", func(r *Record, now time.Time) error {
		if r.Status != Paused && r.Status != Disabled {
			return errUnchanged
		}
		r.open(now)
		return nil
	})
}
