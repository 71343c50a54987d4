package listen

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/webhook"
)

const (
	// pollEvery is how often the feed is looked at.
	pollEvery = 200 * time.Millisecond
	// maxHeld is how many events a session holds, under way or to be tried again; the rest stays in the feed.
	maxHeld = 256
	// maxUnderWay is how many wait for their acknowledgement at once.
	maxUnderWay = 32
)

// Request is a webhook, just as it would have been POSTed.
type Request struct {
	DeliveryID string
	Headers    map[string]string
	Body       []byte
	Attempt    int
}

// Ack ends one attempt.
type Ack struct {
	DeliveryID string
	StatusCode int
}

// Session is one stream. Events of one employee come in order, each after the one before has ended.
type Session struct {
	// SubscriptionID is a name for it, as a subscription would have.
	SubscriptionID string
	// Secret is what it signs with.
	Secret string

	service *Service
	match   func(*event.Event) bool
	signer  *webhook.Signer
	after   int64 // position in the feed
	polled  time.Time
	held    []*item // in the order of the feed
}

// item is an event on its way.
type item struct {
	id      string
	event   event.Event
	tried   int
	due     time.Time // when to try next
	expires time.Time // when the attempt under way is given up; zero when none is
	done    bool
}

func newSession(s *Service, match func(*event.Event) bool, signer *webhook.Signer, secret string, position int64) *Session {
	return &Session{SubscriptionID: s.conf.NewID("sub"), Secret: secret, service: s, match: match, signer: signer, after: position}
}

// Close ends the session.
func (s *Session) Close() { s.service.open.Add(-1) }

// Run sends until ctx ends, acks is closed, or something fails. send may block: then nothing more is read from the feed.
//
// Errors: ErrGone, and those of send and the feed.
func (s *Session) Run(ctx context.Context, send func(Request) error, acks <-chan Ack) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		if err := s.step(ctx, send); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		case a, ok := <-acks:
			if !ok {
				return nil
			}
			if err := s.ack(a); err != nil {
				return err
			}
		}
	}
}

// step reads what is new and sends what is due.
func (s *Session) step(ctx context.Context, send func(Request) error) error {
	now := time.Now()
	if len(s.held) < maxHeld && now.Sub(s.polled) >= pollEvery {
		if err := s.read(ctx); err != nil {
			return err
		}
		s.polled = now
	}
	for _, it := range s.held {
		if !it.expires.IsZero() && !now.Before(it.expires) {
			s.end(it, delivery.Attempt{Outcome: delivery.OutcomeTimeout}, now)
		}
	}
	s.forget()
	underWay := 0
	busy := make(map[string]bool, len(s.held))
	for _, it := range s.held {
		blocked := it.event.EmployeeID != "" && busy[it.event.EmployeeID]
		busy[it.event.EmployeeID] = true
		switch {
		case !it.expires.IsZero():
			underWay++
		case blocked || underWay >= maxUnderWay || now.Before(it.due):
		default:
			underWay++
			it.tried++
			it.expires = now.Add(delivery.SendTimeout)
			if err := send(s.request(it, now)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Session) read(ctx context.Context) error {
	page, err := s.service.conf.Feed.Events(ctx, history.EventQuery{After: s.after, Limit: maxHeld - len(s.held)})
	if err != nil {
		return err
	}
	s.after = page.Next
	for _, e := range page.Events {
		if e.Payload != nil && s.match(&e) {
			s.held = append(s.held, &item{id: s.service.conf.NewID("dlv"), event: e})
		}
	}
	return nil
}

func (s *Session) request(it *item, now time.Time) Request {
	e := &it.event
	headers := map[string]string{
		"content-type":      "application/json",
		"user-agent":        "Hirewire/" + s.service.conf.Version,
		"webhook-id":        e.ID,
		"webhook-timestamp": strconv.FormatInt(now.Unix(), 10),
		"webhook-signature": s.signer.Sign(e.ID, now, e.Payload),
		"webhook-attempt":   strconv.Itoa(it.tried),
	}
	if e.Traceparent != "" {
		headers["traceparent"] = e.Traceparent
	}
	return Request{DeliveryID: it.id, Headers: headers, Body: e.Payload, Attempt: it.tried}
}

// ack ends an attempt. One that came too late, or is of something else, changes nothing.
func (s *Session) ack(a Ack) error {
	for _, it := range s.held {
		if it.id != a.DeliveryID || it.expires.IsZero() {
			continue
		}
		outcome := delivery.OutcomeOf(a.StatusCode)
		if outcome == delivery.OutcomeGone {
			return ErrGone
		}
		s.end(it, delivery.Attempt{StatusCode: a.StatusCode, Outcome: outcome}, time.Now())
		s.forget()
		return nil
	}
	return nil
}

// end decides what follows from an attempt, as for any delivery.
func (s *Session) end(it *item, a delivery.Attempt, now time.Time) {
	it.expires = time.Time{}
	d := delivery.Next(a, s.service.conf.Schedule, it.tried, rand.Float64()) //nolint:gosec // Jitter is no secret.
	if d.Status != delivery.Pending {
		it.done = true
		return
	}
	it.due = now.Add(d.Wait)
}

// forget drops what is done with.
func (s *Session) forget() {
	kept := s.held[:0]
	for _, it := range s.held {
		if !it.done {
			kept = append(kept, it)
		}
	}
	clear(s.held[len(kept):])
	s.held = kept
}
