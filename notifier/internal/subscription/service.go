package subscription

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/text/unicode/norm"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
)

// Service manages subscriptions for callers.
type Service struct {
	store      Store
	sealer     access.Sealer
	rules      Rules
	challenger Challenger
	newID      func(prefix string) string
	now        func() time.Time
	changed    func(context.Context)
}

// ServiceConfig is what a Service is made of.
type ServiceConfig struct {
	Store  Store
	Sealer access.Sealer
	Rules  Rules
	// Challenger asks receivers whether they own their URL.
	Challenger Challenger
	// NewID makes a unique, sortable id with the prefix.
	NewID func(prefix string) string
	// Now is the time that all replicas share, in microseconds; nil: this process's.
	Now func() time.Time
	// Changed is called after each change, so that this process need not wait for its next look; may be nil.
	Changed func(context.Context)
}

// NewService makes a Service.
func NewService(c ServiceConfig) *Service {
	if c.Changed == nil {
		c.Changed = func(context.Context) {}
	}
	if c.Now == nil {
		c.Now = access.Now
	}
	return &Service{c.Store, c.Sealer, c.Rules, c.Challenger, c.NewID, c.Now, c.Changed}
}

// Get is one subscription. What the caller may not see is not there.
//
// Errors: ErrNotFound.
func (s *Service) Get(ctx context.Context, by access.Caller, id string) (Record, error) {
	r, err := s.store.Get(ctx, id)
	if err != nil {
		return Record{}, fmt.Errorf("get subscription: %w", err)
	}
	if !by.Sees(r.Owner) {
		return Record{}, ErrNotFound
	}
	return r, nil
}

// Visible fails as Get does when the subscription is not there for the caller.
func (s *Service) Visible(ctx context.Context, by access.Caller, id string) error {
	_, err := s.Get(ctx, by, id)
	return err
}

// List are the subscriptions that the caller may see and asks for.
func (s *Service) List(ctx context.Context, by access.Caller, q Query) ([]Subscription, error) {
	if by.Owner != "" {
		if q.Owner != nil && *q.Owner != by.Owner {
			return nil, nil
		}
		q.Owner = &by.Owner
	}
	q.Name = norm.NFC.String(q.Name)
	list, err := s.store.List(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", err)
	}
	return list, nil
}

// Update changes a subscription: edit gets it as it is and sets what is to be different; it may be called more than once.
// etag, unless empty, is what the caller believes to change.
//
// Errors: ErrNotFound, ErrStale, ErrNameTaken, *InvalidError, those of edit.
func (s *Service) Update(ctx context.Context, by access.Caller, id, etag string, edit func(*Subscription) error) (Record, error) {
	return s.update(ctx, by, id, "UpdateSubscription", func(r *Record, now time.Time) error {
		if etag != "" && etag != r.ETag() {
			return ErrStale
		}
		was := r.Clone()
		if err := edit(&r.Subscription); err != nil {
			return err
		}
		r.fill()
		if err := s.rules.check(r.Subscription); err != nil {
			return err
		}
		if r.URL != was.URL {
			r.moved(now)
		}
		return nil
	})
}

// moved takes over that the URL is another one: its receiver has to answer the challenge.
func (r *Record) moved(now time.Time) {
	r.VerifiedAt = time.Time{}
	r.Challenge.Token++
	if r.Status != Paused {
		r.open(now)
	}
}

// ETag changes with each change.
func (s Subscription) ETag() string { return fmt.Sprintf("r%d", s.Revision) }

// errUnchanged ends a change that would change nothing.
var errUnchanged = errors.New("unchanged")

// update makes one audited change that the caller asks for.
func (s *Service) update(ctx context.Context, by access.Caller, id, action string, fn func(*Record, time.Time) error) (Record, error) {
	now := s.now()
	r, _, err := s.store.Update(ctx, id, access.Request{}, func(r *Record) (*audit.Entry, error) {
		if !by.Sees(r.Owner) {
			return nil, ErrNotFound
		}
		was := r.Clone()
		if err := fn(r, now); errors.Is(err, errUnchanged) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		r.change(now)
		e := s.entry(by, action, now, &was, r)
		return &e, nil
	})
	if err != nil {
		return Record{}, fmt.Errorf("%s: %w", action, err)
	}
	s.changed(ctx)
	return r, nil
}

func (s *Service) entry(by access.Caller, action string, now time.Time, before, after *Record) audit.Entry {
	e := audit.Entry{ID: s.newID("aud"), At: now, Actor: by.Name, Action: action, Resource: after.ID, RequestID: by.CallID}
	if before != nil {
		e.Before = describe(*before)
	}
	if after.DeletedAt.IsZero() {
		e.After = describe(*after)
	}
	return e
}
