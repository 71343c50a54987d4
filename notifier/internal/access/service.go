package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"hirewire.dev/notifier/internal/audit"
)

// Service makes, lists and ends keys.
type Service struct {
	store  Store
	sealer Sealer
	static []StaticKey
	newID  func(prefix string) string
	// changed is told of each change made here, so that this process need not wait for its next look.
	changed func(context.Context)
}

// NewService makes a Service. static are the keys of the configuration, whose names and secrets are taken. newID makes unique,
// sortable ids; changed is called after each change and may be nil.
func NewService(store Store, sealer Sealer, static []StaticKey, newID func(prefix string) string, changed func(context.Context)) *Service {
	if changed == nil {
		changed = func(context.Context) {}
	}
	return &Service{store: store, sealer: sealer, static: static, newID: newID, changed: changed}
}

// NewKey is a key to be made.
type NewKey struct {
	Name string
	Role Role
	// Secret is taken if given, else made.
	Secret string
	// RequestID lets a retry of the call be recognised; may be empty.
	RequestID string
}

// Create makes a key and answers with its secret, the only time but for a retry within SecretShownFor.
func (s *Service) Create(ctx context.Context, by Caller, n NewKey) (Key, string, error) {
	if err := Check(n.Name, n.Role); err != nil {
		return Key{}, "", err
	}
	secret := n.Secret
	if secret == "" {
		secret = newSecret()
	} else if err := CheckSecret(secret); err != nil {
		return Key{}, "", err
	}
	for _, taken := range s.static {
		switch {
		case taken.Name == n.Name:
			return Key{}, "", ErrNameTaken
		case taken.Secret == secret:
			return Key{}, "", ErrSecretTaken
		}
	}
	now := Now()
	k := Key{ID: s.newID("key"), Name: n.Name, Role: n.Role, Hash: Hash(secret), CreatedAt: now}
	r := Request{Actor: by.Name, ID: n.RequestID, Resource: k.ID, At: now, Content: digest("CreateApiKey", n.Name, string(n.Role), n.Secret)}
	if r.ID != "" {
		var err error
		if r.SealKey, r.Sealed, err = s.sealer.Seal(ctx, r.Subject(), secret); err != nil {
			return Key{}, "", fmt.Errorf("seal API key: %w", err)
		}
	}
	before, err := s.store.CreateKey(ctx, k, r, audit.Entry{
		ID: s.newID("aud"), At: now, Actor: by.Name, Action: "CreateApiKey", Resource: k.ID, After: describe(k), RequestID: by.CallID,
	})
	if err != nil {
		return Key{}, "", fmt.Errorf("create API key: %w", err)
	}
	if before != nil {
		return s.again(ctx, *before, r)
	}
	s.changed(ctx)
	return k, secret, nil
}

// again answers a retry of a request.
func (s *Service) again(ctx context.Context, before, now Request) (Key, string, error) {
	if before.Content != now.Content {
		return Key{}, "", ErrRequestReused
	}
	k, err := s.store.Key(ctx, before.Resource)
	if err != nil {
		return Key{}, "", fmt.Errorf("create API key again: %w", err)
	}
	if len(before.Sealed) == 0 || now.At.Sub(before.At) > SecretShownFor {
		return k, "", nil
	}
	secret, err := s.sealer.Open(ctx, before.Subject(), before.SealKey, before.Sealed)
	if err != nil {
		return Key{}, "", fmt.Errorf("create API key again: %w", err)
	}
	return k, secret, nil
}

// List gives at most limit keys with ids after after, in order.
func (s *Service) List(ctx context.Context, after string, limit int) ([]Key, error) {
	keys, err := s.store.Keys(ctx, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	return keys, nil
}

// Revoke ends a key. Revoking twice is no harm.
func (s *Service) Revoke(ctx context.Context, by Caller, id string) (Key, error) {
	now := Now()
	k, err := s.store.RevokeKey(ctx, id, now, func(k Key) audit.Entry {
		after := k
		after.RevokedAt = now
		return audit.Entry{
			ID: s.newID("aud"), At: now, Actor: by.Name, Action: "RevokeApiKey", Resource: id,
			Before: describe(k), After: describe(after), RequestID: by.CallID,
		}
	})
	if err != nil {
		return Key{}, fmt.Errorf("revoke API key: %w", err)
	}
	s.changed(ctx)
	return k, nil
}

func describe(k Key) map[string]any {
	d := map[string]any{"id": k.ID, "name": k.Name, "role": string(k.Role), "created_at": k.CreatedAt.Format(time.RFC3339Nano)}
	if !k.RevokedAt.IsZero() {
		d["revoked_at"] = k.RevokedAt.Format(time.RFC3339Nano)
	}
	return d
}

// Now is the time as it is stored: UTC, microseconds.
func Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func newSecret() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails, by its documentation
	return "hwk_" + base64.RawURLEncoding.EncodeToString(raw[:])
}

// digest of the parts, such that no two lists of parts are confused.
func digest(parts ...string) [sha256.Size]byte {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
