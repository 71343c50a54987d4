package subscription

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/webhook"
)

// Rotation is a new key for a subscription.
type Rotation struct {
	// Secret is taken if given, else made. Only for V1.
	Secret string
	// Overlap is how long the old keys sign too.
	Overlap time.Duration
	// RequestID lets a retry of the call be recognised; may be empty.
	RequestID string
}

// Rotate puts a new key in force.
//
// Errors: ErrNotFound, *InvalidError, ErrRequestReused.
func (s *Service) Rotate(ctx context.Context, by access.Caller, id string, rot Rotation) (Shown, error) {
	seen, err := s.Get(ctx, by, id)
	if err != nil {
		return Shown{}, err
	}
	now := s.now()
	key, secret, err := s.newKey(ctx, id, seen.Signature, rot.Secret, now)
	if err != nil {
		return Shown{}, err
	}
	req, err := s.request(ctx, by, rot.RequestID, "RotateSecret "+id, id, secret, now, rot)
	if err != nil {
		return Shown{}, err
	}
	r, before, err := s.store.Update(ctx, id, req, func(r *Record) (*audit.Entry, error) {
		if !by.Sees(r.Owner) {
			return nil, ErrNotFound
		}
		was := r.Clone()
		r.rotate(key, rot.Overlap, now)
		r.change(now)
		e := s.entry(by, "RotateSecret", now, &was, r)
		return &e, nil
	})
	if err != nil {
		return Shown{}, fmt.Errorf("rotate secret: %w", err)
	}
	if before != nil {
		return s.again(ctx, by, *before, req)
	}
	s.changed(ctx)
	return Shown{r, secret, key.PublicKey}, nil
}

// newKey makes a key of the kind; given is the caller's own secret.
func (s *Service) newKey(ctx context.Context, subscriptionID string, kind Signature, given string, now time.Time) (Key, string, error) {
	k := Key{ID: s.newID("sgk"), Kind: kind, CreatedAt: now}
	var text, shown string
	switch {
	case kind == V1A && given != "":
		return Key{}, "", invalid("secret", "keys of V1A are made by the notifier")
	case kind == V1A:
		private := webhook.NewPrivateKey()
		text, k.PublicKey = private.Reveal(), private.Public().String()
	default:
		secret := webhook.NewSecret()
		if given != "" {
			var err error
			if secret, err = parseGiven(given); err != nil {
				return Key{}, "", err
			}
		}
		text = secret.Reveal()
		shown = text
	}
	var err error
	if k.SealKey, k.Sealed, err = s.sealer.Seal(ctx, Subject(subscriptionID, k.ID), text); err != nil {
		return Key{}, "", fmt.Errorf("seal signing key: %w", err)
	}
	return k, shown, nil
}

func parseGiven(given string) (webhook.Secret, error) {
	const prefix = "whsec_"
	if !strings.HasPrefix(given, prefix) {
		return webhook.Secret{}, invalid("secret", "must begin with whsec_")
	}
	secret, err := webhook.ParseSecret(given)
	if err != nil {
		return webhook.Secret{}, invalid("secret", "must be whsec_ and the base64 of 24 to 64 bytes, not all zero")
	}
	return secret, nil
}

// request is the caller's name for the call. content is what was asked: JSON of the same values is the same content.
func (s *Service) request(ctx context.Context, by access.Caller, id, action, resource, secret string, now time.Time, content any) (access.Request, error) {
	r := access.Request{Actor: by.Name, ID: id, Resource: resource, At: now}
	if id == "" {
		return r, nil
	}
	text, err := json.Marshal([]any{action, content})
	if err != nil {
		return r, fmt.Errorf("digest request: %w", err)
	}
	r.Content = sha256.Sum256(text)
	if secret != "" {
		if r.SealKey, r.Sealed, err = s.sealer.Seal(ctx, r.Subject(), secret); err != nil {
			return r, fmt.Errorf("seal secret: %w", err)
		}
	}
	return r, nil
}

// again answers a retry of a request. A key of the same name may be another's by now, and is not shown what is not its own.
func (s *Service) again(ctx context.Context, by access.Caller, before, now access.Request) (Shown, error) {
	if before.Content != now.Content {
		return Shown{}, ErrRequestReused
	}
	r, err := s.store.Get(ctx, before.Resource)
	if err != nil {
		return Shown{}, fmt.Errorf("answer a retry: %w", err)
	}
	if !by.Sees(r.Owner) {
		return Shown{}, ErrRequestReused
	}
	shown := Shown{Record: r}
	if len(r.Keys) > 0 {
		shown.PublicKey = r.Keys[0].PublicKey
	}
	if len(before.Sealed) == 0 || now.At.Sub(before.At) > access.SecretShownFor {
		return shown, nil
	}
	if shown.Secret, err = s.sealer.Open(ctx, before.Subject(), before.SealKey, before.Sealed); err != nil {
		return Shown{}, fmt.Errorf("answer a retry: %w", err)
	}
	return shown, nil
}
