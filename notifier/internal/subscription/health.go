package subscription

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
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

	mu   sync.Mutex
	seen map[string]bool // whether there was a delivery since the last look
	// runs are those of failures that are not written down yet; only look uses it.
	runs map[string]run
}

// run is a run of failures as this replica sees it.
type run struct {
	since    time.Time
	revision int64 // of the subscription
}

// HealthConfig says how much patience there is.
type HealthConfig struct {
	// NoteAfter is how long a run of failures lasts before it is written down. 0: a minute.
	NoteAfter time.Duration
	// WarnAfter is when its owner is told. 0: an hour.
	WarnAfter time.Duration
	// DisableAfter is when it is disabled. 0: five days.
	DisableAfter time.Duration
	// LookEvery is how often what was observed is acted on. 0: five seconds.
	LookEvery time.Duration
}

// NewHealth makes a Health.
func NewHealth(s *Service, c *Catalog, poster Poster, log *slog.Logger, conf HealthConfig) *Health {
	for _, d := range []struct {
		wait *time.Duration
		def  time.Duration
	}{{&conf.NoteAfter, time.Minute}, {&conf.WarnAfter, time.Hour}, {&conf.DisableAfter, 5 * 24 * time.Hour}, {&conf.LookEvery, 5 * time.Second}} {
		if *d.wait <= 0 {
			*d.wait = d.def
		}
	}
	conf.NoteAfter = min(conf.NoteAfter, conf.WarnAfter)
	return &Health{
		service: s, catalog: c, poster: poster, log: log, conf: conf,
		seen: map[string]bool{}, runs: map[string]run{},
	}
}

// byNotifier is the caller of changes that nobody asked for.
var byNotifier = access.Caller{Name: audit.Notifier, Role: access.Admin}

// Gone disables a subscription whose receiver answered 410 at the URL. Its events are held. It is not probed: whoever answers
// so wants nothing any more.
func (h *Health) Gone(ctx context.Context, id, url string) error {
	r, err := h.service.update(ctx, byNotifier, id, "DisableSubscription", func(r *Record, _ time.Time) error {
		if r.URL != url || r.Status != Active {
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

// Observe notes how an attempt ended. It never blocks for long.
func (h *Health) Observe(id string, delivered bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[id] = h.seen[id] || delivered
}

// Run acts on what was observed until ctx ends.
func (h *Health) Run(ctx context.Context) error {
	ticker := time.NewTicker(h.conf.LookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			h.look(ctx)
		}
	}
}

// look takes what was observed since the last look. What cannot be stored now is seen again with the next attempt.
func (h *Health) look(ctx context.Context) {
	h.mu.Lock()
	seen := h.seen
	h.seen = make(map[string]bool, len(seen))
	h.mu.Unlock()
	targets := h.catalog.Current().Targets
	// What failed before a pause, or at another URL, says nothing of now.
	maps.DeleteFunc(h.runs, func(id string, r run) bool {
		t := targets[id]
		return t == nil || t.Status != Active || t.Revision != r.revision
	})
	for id, delivered := range seen {
		t := targets[id]
		if t == nil || t.Status != Active {
			continue
		}
		var err error
		if delivered {
			err = h.recovered(ctx, t)
		} else {
			err = h.failing(ctx, t)
		}
		if err != nil && ctx.Err() == nil {
			h.log.WarnContext(ctx, "the health of a subscription could not be stored", "subscription_id", id, "error", err)
		}
	}
}

// failing does what follows from a run of failures.
func (h *Health) failing(ctx context.Context, t *Target) error {
	now := h.service.now()
	if t.FailingSince.IsZero() {
		return h.note(ctx, t, now)
	}
	switch failing := now.Sub(t.FailingSince); {
	case failing >= h.conf.DisableAfter:
		return h.disable(ctx, t.ID, t.FailingSince)
	case failing >= h.conf.WarnAfter:
		return h.warn(ctx, t.ID, t.FailingSince, now)
	}
	return nil
}

// note writes a run of failures down, once it has lasted a while. It counts from then: before, another replica may have
// delivered, and had no reason to say so; from then on, whichever delivers ends it.
func (h *Health) note(ctx context.Context, t *Target, now time.Time) error {
	r, known := h.runs[t.ID]
	if !known {
		h.runs[t.ID] = run{since: now, revision: t.Revision}
		return nil
	}
	if now.Sub(r.since) < h.conf.NoteAfter {
		return nil
	}
	if err := h.service.store.SetFailing(ctx, t.ID, now); err != nil {
		return fmt.Errorf("note failing subscription: %w", err)
	}
	delete(h.runs, t.ID)
	h.service.changed(ctx)
	return nil
}

// recovered notes that a delivery went well.
func (h *Health) recovered(ctx context.Context, t *Target) error {
	delete(h.runs, t.ID)
	if t.FailingSince.IsZero() {
		return nil
	}
	if err := h.service.store.SetFailing(ctx, t.ID, time.Time{}); err != nil {
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
