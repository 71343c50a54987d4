// Package listen brings events to a developer who has no URL of their own yet: over a stream, signed like any other webhook,
// each to be acknowledged with the status that the developer's receiver answered.
//
// A session follows the feed from the moment it is opened. It is held in memory, by the replica that serves the stream, and
// leaves nothing behind: no subscription, no deliveries, no history. So it costs publishing nothing, and what is published
// after it has ended is not kept for it.
package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/notifier/internal/text"
	"hirewire.dev/webhook"
)

// The errors of this package, besides InvalidError.
var (
	// ErrTooMany means that as many listen as can be served.
	ErrTooMany = errors.New("too many are listening already")
	// ErrGone means that the receiver wants nothing more: a subscription would be disabled now.
	ErrGone = errors.New("the receiver answered 410; a subscription would be disabled now")
)

// InvalidError is a field of a request that is not as it must be.
type InvalidError struct{ Field, Reason string }

// Error names the field and the reason.
func (e *InvalidError) Error() string { return e.Field + ": " + e.Reason }

// Feed is where events come from.
type Feed interface {
	// Events is a piece of the feed in the order of commits.
	Events(ctx context.Context, q history.EventQuery) (history.Page, error)
	// Position is the end of the feed.
	Position(ctx context.Context) (int64, error)
}

// Config is what a Service is made of. All fields are required.
type Config struct {
	Feed Feed
	// Compile makes a filter of a CEL expression; the error is for whoever wrote it.
	Compile func(filter string) (func(*subscription.Candidate) bool, error)
	// Candidate shows an event to a filter.
	Candidate func(*event.Event) *subscription.Candidate
	// Types are the event types that there are.
	Types []string
	// Schedule is the wait before each attempt.
	Schedule []time.Duration
	// Version goes into the user-agent.
	Version string
	NewID   func(prefix string) string
	Log     *slog.Logger
}

const (
	// maxSessions is how many may listen at once.
	maxSessions = 100
	maxName     = 255
)

// Service opens sessions.
type Service struct {
	conf Config
	open atomic.Int32
}

// New makes a Service.
func New(conf Config) *Service { return &Service{conf: conf} }

// Opening is what to listen to.
type Opening struct {
	EventTypes []string // exact or employee.*; empty: all
	Filter     string   // CEL over event; empty: all
	Name       string   // who listens, for the log
	Secret     string   // whsec_…; empty: one is made
}

// Open begins a session, at the present end of the feed. Close it.
//
// Errors: *InvalidError, ErrTooMany.
func (s *Service) Open(ctx context.Context, o Opening) (*Session, error) {
	if len(o.Name) > maxName || strings.ContainsFunc(o.Name, text.Invisible) {
		return nil, &InvalidError{"open.name", fmt.Sprintf("must have at most %d bytes, and no control or invisible characters", maxName)}
	}
	match, err := s.match(o)
	if err != nil {
		return nil, err
	}
	key := webhook.NewSecret()
	if o.Secret != "" {
		if key, err = webhook.ParseSecret(o.Secret); err != nil {
			return nil, &InvalidError{"open.secret", "must be whsec_ and the base64 of 24 to 64 bytes"}
		}
	}
	signer, err := webhook.NewSigner(key)
	if err != nil {
		return nil, fmt.Errorf("make signer: %w", err)
	}
	position, err := s.conf.Feed.Position(ctx)
	if err != nil {
		return nil, err
	}
	if s.open.Add(1) > maxSessions {
		s.open.Add(-1)
		return nil, ErrTooMany
	}
	session := newSession(s, match, signer, key.Reveal(), position)
	s.conf.Log.InfoContext(ctx, "somebody listens", "session", session.SubscriptionID, "name", o.Name)
	return session, nil
}

func (s *Service) match(o Opening) (func(*event.Event) bool, error) {
	for i, t := range o.EventTypes {
		if !slices.ContainsFunc(s.conf.Types, func(known string) bool { return event.MatchesType(t, known) }) {
			return nil, &InvalidError{fmt.Sprintf("open.event_types[%d]", i), "must be one of " + strings.Join(s.conf.Types, ", ") + `, or a first word with ".*"`}
		}
	}
	filter := func(*subscription.Candidate) bool { return true }
	if o.Filter != "" {
		var err error
		if filter, err = s.conf.Compile(o.Filter); err != nil {
			return nil, &InvalidError{"open.filter", err.Error()}
		}
	}
	return func(e *event.Event) bool {
		if !slices.Contains(s.conf.Types, e.Type) {
			return false // the notifier's own, for one subscription alone
		}
		wanted := len(o.EventTypes) == 0 || slices.ContainsFunc(o.EventTypes, func(p string) bool { return event.MatchesType(p, e.Type) })
		return wanted && filter(s.conf.Candidate(e))
	}, nil
}
