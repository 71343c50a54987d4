package replay

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
)

// The bounds of a replay's fields.
const (
	maxEventTypes = 100
	maxRate       = 100_000
)

// Subscriptions says whose a subscription is.
type Subscriptions interface {
	// Visible fails like a look-up of the subscription when it is not there for the caller.
	Visible(ctx context.Context, by access.Caller, subscriptionID string) error
}

// Service starts, shows and stops replays.
type Service struct {
	store         Store
	subscriptions Subscriptions
	types         []string
	newID         func(prefix string) string
	now           func() time.Time
	wake          func()
}

// NewService makes a Service. types are the event types that there are; wake tells the Runner that there is work.
func NewService(store Store, subscriptions Subscriptions, types []string, newID func(prefix string) string, now func() time.Time, wake func()) *Service {
	return &Service{store, subscriptions, types, newID, now, wake}
}

// Create starts a replay. With a request id, a retry of the call answers with the replay that the first one made.
//
// Errors: *InvalidError, ErrRequestReused, and those of Subscriptions.
func (s *Service) Create(ctx context.Context, by access.Caller, r Replay, requestID string) (Replay, error) {
	r.Start, r.End = r.Start.UTC().Truncate(time.Microsecond), r.End.UTC().Truncate(time.Microsecond) // as events' times are
	if err := s.check(r); err != nil {
		return Replay{}, err
	}
	if err := s.subscriptions.Visible(ctx, by, r.SubscriptionID); err != nil {
		return Replay{}, err
	}
	now := s.now()
	req := access.Request{Actor: by.Name, ID: requestID, At: now}
	if requestID != "" {
		text, err := json.Marshal([]any{"CreateReplay", r})
		if err != nil {
			return Replay{}, fmt.Errorf("digest request: %w", err)
		}
		req.Content = sha256.Sum256(text)
	}
	r.ID, r.Status, r.Total, r.Done, r.Error, r.CreatedAt, r.FinishedAt = s.newID("rpl"), Running, -1, 0, "", now, time.Time{}
	req.Resource = r.ID
	before, err := s.store.CreateReplay(ctx, r, req, s.entry(by, "CreateReplay", r.ID, now, r.describe(), requestID))
	if err != nil {
		return Replay{}, fmt.Errorf("create replay: %w", err)
	}
	if before == nil {
		s.wake()
		return r, nil
	}
	if before.Content != req.Content {
		return Replay{}, ErrRequestReused
	}
	return s.Get(ctx, by, before.Resource)
}

// Get is one replay. Errors: ErrNotFound.
func (s *Service) Get(ctx context.Context, by access.Caller, id string) (Replay, error) {
	r, err := s.store.Replay(ctx, id)
	if err != nil {
		return Replay{}, err
	}
	if by.Owner != "" && s.subscriptions.Visible(ctx, by, r.SubscriptionID) != nil {
		return Replay{}, ErrNotFound
	}
	return r, nil
}

// Cancel stops a replay; what it has made due stays so. Again is no harm. Errors: ErrNotFound.
func (s *Service) Cancel(ctx context.Context, by access.Caller, id string) (Replay, error) {
	if _, err := s.Get(ctx, by, id); err != nil {
		return Replay{}, err
	}
	return s.store.CancelReplay(ctx, id, s.entry(by, "CancelReplay", id, s.now(), nil, ""))
}

func (s *Service) entry(by access.Caller, action, resource string, now time.Time, after map[string]any, requestID string) audit.Entry {
	if requestID == "" {
		requestID = by.CallID
	}
	return audit.Entry{ID: s.newID("aud"), At: now, Actor: by.Name, Action: action, Resource: resource, After: after, RequestID: requestID}
}

func (r Replay) describe() map[string]any {
	return map[string]any{"subscription_id": r.SubscriptionID, "dry_run": r.DryRun}
}

func (s *Service) check(r Replay) error {
	switch {
	case r.SubscriptionID == "":
		return &InvalidError{"replay.subscription_id", "is required"}
	case len(r.EventTypes) > maxEventTypes:
		return &InvalidError{"replay.event_types", fmt.Sprintf("has more than %d entries", maxEventTypes)}
	case !r.End.IsZero() && !r.Start.IsZero() && !r.Start.Before(r.End):
		return &InvalidError{"replay.end_time", "must be after start_time"}
	case r.RatePerSec < 0 || r.RatePerSec > maxRate:
		return &InvalidError{"replay.rate_limit_per_second", fmt.Sprintf("must be from 0 to %d", maxRate)}
	}
	for i, t := range r.EventTypes {
		if !slices.ContainsFunc(s.types, func(known string) bool { return event.MatchesType(t, known) }) {
			return &InvalidError{fmt.Sprintf("replay.event_types[%d]", i), "must be one of " + strings.Join(s.types, ", ") + `, or a first word with ".*"`}
		}
	}
	for i, st := range r.Statuses {
		if st != delivery.Delivered && st != delivery.Dead && st != delivery.Cancelled {
			return &InvalidError{fmt.Sprintf("replay.delivery_statuses[%d]", i), "must be DELIVERED, DEAD or CANCELLED"}
		}
	}
	return nil
}

// wants says whether the replay is about an event, as far as its own conditions go.
func (r Replay) wants(name string) bool {
	return len(r.EventTypes) == 0 || slices.ContainsFunc(r.EventTypes, func(p string) bool { return event.MatchesType(p, name) })
}
