package subscription

import (
	"context"
	"fmt"
	"strings"
	"time"

	"hirewire.dev/webhook"
)

// target makes what the engine needs of a record, and says when it must be made anew; zero: not before the record changes.
//
// Keys that do not open park the subscription: it goes on accepting events, and none is sent. A filter that does not compile
// is an error: without it there is no telling which events the receiver may see, and which it would miss.
func (o opener) target(ctx context.Context, r Record, now time.Time) (t *Target, turn time.Time, err error) {
	match, err := o.match(r.Subscription)
	if err != nil {
		return nil, time.Time{}, err
	}
	t = &Target{Subscription: r.Subscription, Match: match}
	var keys []webhook.SigningKey
	for _, k := range r.Keys {
		if !k.InForce(now) {
			continue
		}
		if !k.ExpiresAt.IsZero() && (turn.IsZero() || k.ExpiresAt.Before(turn)) {
			turn = k.ExpiresAt
		}
		key, err := o.open(ctx, r.ID, k)
		if err != nil {
			return o.park(ctx, t, err), now.Add(reopenEvery), nil
		}
		keys = append(keys, key)
		if secret, ok := key.(webhook.Secret); ok {
			t.Secrets = append(t.Secrets, secret)
		}
		if k.PublicKey != "" {
			t.PublicKeys = append(t.PublicKeys, k.PublicKey)
		}
	}
	if t.Signer, err = webhook.NewSigner(keys...); err != nil {
		return o.park(ctx, t, err), turn, nil
	}
	return t, turn, nil
}

// park holds a target that cannot be signed for.
func (o opener) park(ctx context.Context, t *Target, err error) *Target {
	o.log.ErrorContext(ctx, "the signing keys of a subscription do not open; its events are held", "subscription_id", t.ID, "error", err)
	t.Signer, t.Secrets = nil, nil
	t.Status, t.StatusReason = Disabled, "the notifier cannot open its signing keys"
	return t
}

func (o opener) open(ctx context.Context, subscriptionID string, k Key) (webhook.SigningKey, error) {
	text, err := o.sealer.Open(ctx, Subject(subscriptionID, k.ID), k.SealKey, k.Sealed)
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", k.ID, err)
	}
	if k.Kind == V1A {
		return webhook.ParsePrivateKey(text)
	}
	return webhook.ParseSecret(text)
}

// match compiles which events a subscription wants.
func (o opener) match(s Subscription) (func(*Candidate) bool, error) {
	wants := matchTypes(s.EventTypes)
	if s.Filter == "" {
		return wants, nil
	}
	filter, err := o.compile(s.Filter)
	if err != nil {
		return nil, fmt.Errorf("compile the filter of %s: %w", s.ID, err)
	}
	return func(c *Candidate) bool { return wants(c) && filter(c) }, nil
}

func matchTypes(types []string) func(*Candidate) bool {
	switch {
	case len(types) == 0:
		return func(*Candidate) bool { return true }
	case len(types) == 1 && !strings.HasSuffix(types[0], "*"):
		only := types[0]
		return func(c *Candidate) bool { return c.Type == only }
	}
	exact := make(map[string]bool, len(types))
	var prefixes []string
	for _, t := range types {
		if prefix, wild := strings.CutSuffix(t, "*"); wild {
			prefixes = append(prefixes, prefix)
		} else {
			exact[t] = true
		}
	}
	return func(c *Candidate) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(c.Type, p) {
				return true
			}
		}
		return exact[c.Type]
	}
}
