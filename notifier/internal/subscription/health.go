package subscription

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
)

// Health acts on how receivers fare: it warns of a subscription that has nothing but failures, and disables it in the end, or
// at once after a 410.
type Health struct {
	service *Service
	catalog *Catalog
	poster  Poster
	log     *slog.Logger
	conf    HealthConfig
}

// HealthConfig says how much patience there is.
type HealthConfig struct {
	// NoteAfter is how long a run of failures lasts before it is written down. 0: a minute.
	NoteAfter time.Duration
	// WarnAfter is when its owner is told. 0: an hour.
	WarnAfter time.Duration
	// DisableAfter is when it is disabled. 0: five days.
	DisableAfter time.Duration
}

// NewHealth makes a Health.
func NewHealth(s *Service, c *Catalog, poster Poster, log *slog.Logger, conf HealthConfig) *Health {
	for _, d := range []struct {
		wait *time.Duration
		def  time.Duration
	}{{&conf.NoteAfter, time.Minute}, {&conf.WarnAfter, time.Hour}, {&conf.DisableAfter, 5 * 24 * time.Hour}} {
		if *d.wait <= 0 {
			*d.wait = d.def
		}
	}
	return &Health{service: s, catalog: c, poster: poster, log: log, conf: conf}
}

// byNotifier is the caller of changes that nobody asked for.
var byNotifier = access.Caller{Name: audit.Notifier, Role: access.Admin}

// Gone disables a subscription whose receiver answered 410 to what was sent by its revision; by a later one it may be
// another receiver. Its events are held. It is not probed: whoever answers so wants nothing any more.
func (h *Health) Gone(ctx context.Context, id string, revision int64) error {
	r, err := h.service.update(ctx, byNotifier, id, "DisableSubscription", func(r *Record, _ time.Time) error {
		if r.Revision != revision || r.Status != Active {
			return errUnchanged
		}
		r.hold(Disabled, "the receiver answered 410 Gone")
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil && r.Status == Disabled {
		h.log.WarnContext(ctx, "subscription disabled: its receiver answered 410", "subscription_id", id)
	}
	return err
}

// Failing notes that there has been nothing but failures since the time, and does what follows.
func (h *Health) Failing(ctx context.Context, id string, since time.Time) error {
	now := h.service.now()
	t := h.catalog.Current().Targets[id]
	if t == nil || t.Status != Active {
		return nil
	}
	if !t.FailingSince.IsZero() {
		since = t.FailingSince
	} else {
		if since = since.UTC().Truncate(time.Microsecond); now.Sub(since) < h.conf.NoteAfter {
			return nil
		}
		if err := h.service.store.SetFailing(ctx, id, since); err != nil {
			return fmt.Errorf("note failing subscription: %w", err)
		}
		h.service.changed(ctx)
	}
	switch failing := now.Sub(since); {
	case failing >= h.conf.DisableAfter:
		return h.disable(ctx, id, since)
	case failing >= h.conf.WarnAfter:
		return h.warn(ctx, id, since, now)
	}
	return nil
}

// Recovered notes that a delivery went well.
func (h *Health) Recovered(ctx context.Context, id string) error {
	if err := h.service.store.SetFailing(ctx, id, time.Time{}); err != nil {
		return fmt.Errorf("note recovered subscription: %w", err)
	}
	h.service.changed(ctx)
	return nil
}

// disable holds a subscription that failed for too long, and begins to probe it.
func (h *Health) disable(ctx context.Context, id string, since time.Time) error {
	r, err := h.service.update(ctx, byNotifier, id, "DisableSubscription", func(r *Record, now time.Time) error {
		if r.Status != Active || !r.FailingSince.Equal(since) {
			return errUnchanged
		}
		r.hold(Disabled, "nothing but failures since "+since.Format(time.RFC3339)+"; it is probed, and goes on when it answers the challenge")
		r.Challenge.DueAt = now.Add(probeAfter[0])
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.Status == Disabled {
		h.log.WarnContext(ctx, "subscription disabled: nothing but failures", "subscription_id", id, "failing_since", since)
		h.tell(ctx, r, since)
	}
	return nil
}

func (h *Health) warn(ctx context.Context, id string, since, now time.Time) error {
	first, err := h.service.store.Warned(ctx, id, since, now)
	if err != nil {
		return fmt.Errorf("warn of failing subscription: %w", err)
	}
	if !first {
		return nil
	}
	h.log.WarnContext(ctx, "subscription has nothing but failures", "subscription_id", id, "failing_since", since)
	r, err := h.service.store.Get(ctx, id)
	if err != nil {
		return fmt.Errorf("warn of failing subscription: %w", err)
	}
	h.tell(ctx, r, since)
	return nil
}

// tell POSTs a subscription.failing event to the contact, where that is a URL. It is tried once: the log and the metric say
// the same, and whoever does not read them is told again at the next step.
func (h *Health) tell(ctx context.Context, r Record, since time.Time) {
	t := h.catalog.Current().Targets[r.ID]
	if !strings.Contains(r.Contact, "://") || t == nil || t.Signer == nil {
		return
	}
	id := h.service.newID("evt")
	body, err := json.Marshal(map[string]any{
		"id": id, "type": "subscription.failing", "timestamp": h.service.now(),
		"data": map[string]any{
			"subscription":  map[string]string{"id": r.ID, "name": r.Name, "url": redactURL(r.URL), "status": string(r.Status)},
			"failing_since": since, "disabled_after_seconds": int64(h.conf.DisableAfter.Seconds()),
		},
	})
	if err != nil {
		h.log.ErrorContext(ctx, "write subscription.failing", "error", err)
		return
	}
	to := *t
	to.URL = r.Contact
	if status, _, err := h.poster.Post(ctx, &to, id, body); err != nil || status > 299 {
		h.log.WarnContext(ctx, "the contact of a failing subscription could not be told", "subscription_id", r.ID, "status_code", status, "error", err)
	}
}
