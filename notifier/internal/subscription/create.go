package subscription

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/text/unicode/norm"

	"hirewire.dev/notifier/internal/access"
)

// Draft is a subscription to be made.
type Draft struct {
	Subscription
	// Secret is taken if given, else made. Only for V1.
	Secret string
	// Since says from when on past events are delivered too; nil: none.
	Since *Since
	// RequestID lets a retry of the call be recognised; may be empty.
	RequestID string
}

// Shown is a subscription, with its secret or public key when the call is one that shows them.
type Shown struct {
	Record
	Secret    string
	PublicKey string
}

// Create makes a subscription, which waits for its receiver to answer the challenge.
//
// Errors: *InvalidError, ErrNameTaken, ErrRequestReused.
func (s *Service) Create(ctx context.Context, by access.Caller, d Draft) (Shown, error) {
	now := s.now()
	d.fill()
	if err := s.rules.check(d.Subscription); err != nil {
		return Shown{}, err
	}
	if d.Since != nil && d.Since.Time.After(now) {
		return Shown{}, invalid("start_from", "must not be in the future")
	}
	r := Record{Subscription: d.Subscription}
	r.ID, r.Owner, r.Revision, r.CreatedAt, r.UpdatedAt, r.FailingSince = s.newID("sub"), by.Owner, 1, now, now, time.Time{}
	r.open(now)
	key, secret, err := s.newKey(ctx, r.ID, r.Signature, d.Secret, now)
	if err != nil {
		return Shown{}, err
	}
	r.Keys = []Key{key}
	req, err := s.request(ctx, by, d.RequestID, "CreateSubscription", r.ID, secret, now, d)
	if err != nil {
		return Shown{}, err
	}
	if d.Since != nil {
		d.Since = &Since{Time: d.Since.Time, ReplayID: s.newID("rpl")}
	}
	before, err := s.store.Create(ctx, r, d.Since, req, s.entry(by, "CreateSubscription", now, nil, &r))
	if err != nil {
		return Shown{}, fmt.Errorf("create subscription: %w", err)
	}
	if before != nil {
		return s.again(ctx, by, *before, req)
	}
	s.changed(ctx)
	return Shown{r, secret, key.PublicKey}, nil
}

// fill sets the defaults of what the caller left open. A name is the same in each of its Unicode forms.
func (s *Subscription) fill() {
	s.Name = norm.NFC.String(s.Name)
	setDefault(&s.Payload, Full)
	setDefault(&s.Format, Standard)
	setDefault(&s.Ordering, ByEmployee)
	setDefault(&s.Signature, V1)
}

func setDefault[T ~string](v *T, def T) {
	if *v == "" {
		*v = def
	}
}
