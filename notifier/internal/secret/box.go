package secret

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"gocloud.dev/secrets"
	"gocloud.dev/secrets/localsecrets"
)

// The errors of this package.
var (
	// ErrUnknownKey means that the text was sealed with a key that is not there, or that no configured master key opens.
	ErrUnknownKey = errors.New("sealed with a key that is not configured")
	// ErrDamaged means that the text does not open, or belongs to another subject.
	ErrDamaged = errors.New("does not open with its key")
)

// DataKey is a data key as it is stored.
type DataKey struct {
	ID        string // dky_ and a ULID: the greatest one seals
	MasterID  string // which master key Sealed opens with
	Sealed    []byte
	CreatedAt time.Time
}

// Store keeps data keys.
type Store interface {
	// DataKeys are all of them, in the order of their ids.
	DataKeys(ctx context.Context) ([]DataKey, error)
	// AddDataKey stores a key. Adding it twice is no harm.
	AddDataKey(ctx context.Context, k DataKey) error
}

// Box seals, and opens what it or another replica's Box sealed. It is safe for concurrent use.
type Box struct {
	store   Store
	masters []Master
	newID   func(prefix string) string

	mu      sync.RWMutex
	keys    map[string]*secrets.Keeper
	current string
}

// NewBox opens the stored data keys with the master keys; the first of them seals new ones. Where there is no data key yet it
// makes one. The Box owns the master keys from here on, also when it fails.
//
// Errors: ErrUnknownKey when a data key was sealed with a master key that is not among these; ErrDamaged when one does not
// open. Then nothing has been changed.
func NewBox(ctx context.Context, store Store, newID func(prefix string) string, current Master, old ...Master) (*Box, error) {
	b := &Box{store: store, masters: append([]Master{current}, old...), newID: newID, keys: map[string]*secrets.Keeper{}}
	err := b.load(ctx)
	if err == nil && b.current == "" {
		if err = b.Renew(ctx); err == nil {
			err = b.load(ctx) // another replica may have made one too
		}
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Renew makes a new data key, which seals from here on. What the old ones sealed is still opened.
func (b *Box) Renew(ctx context.Context) error {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails, by its documentation
	m := b.masters[0]
	k := DataKey{ID: b.newID("dky"), MasterID: m.id, CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	var err error
	if k.Sealed, err = m.keeper.Encrypt(ctx, bound(k.ID, string(raw[:]))); err != nil {
		return fmt.Errorf("seal a data key with master key %s: %w", m.id, err)
	}
	if err := b.store.AddDataKey(ctx, k); err != nil {
		return fmt.Errorf("store a data key: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.adopt(k.ID, raw)
	return nil
}

func (b *Box) adopt(id string, raw [32]byte) {
	b.keys[id] = localsecrets.NewKeeper(raw)
	if id > b.current {
		b.current = id
	}
}

// load takes over the data keys that are not known yet.
func (b *Box) load(ctx context.Context) error {
	stored, err := b.store.DataKeys(ctx)
	if err != nil {
		return fmt.Errorf("read data keys: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range stored {
		if b.keys[k.ID] != nil {
			continue
		}
		raw, err := b.unseal(ctx, k)
		if err != nil {
			return err
		}
		b.adopt(k.ID, raw)
	}
	return nil
}

func (b *Box) unseal(ctx context.Context, k DataKey) (raw [32]byte, err error) {
	for _, m := range b.masters {
		if m.id != k.MasterID {
			continue
		}
		plain, err := m.keeper.Decrypt(ctx, k.Sealed)
		if err != nil {
			return raw, fmt.Errorf("open data key %s with master key %s: %w: %w", k.ID, m.id, ErrDamaged, err)
		}
		text, ok := unbound(k.ID, plain)
		if !ok || len(text) != len(raw) {
			return raw, fmt.Errorf("open data key %s with master key %s: %w", k.ID, m.id, ErrDamaged)
		}
		copy(raw[:], text)
		return raw, nil
	}
	return raw, fmt.Errorf("the stored secrets are sealed with master key %s, and the one given is %s: %w",
		k.MasterID, b.masters[0].id, ErrUnknownKey)
}

// Current is the id of the data key that seals.
func (b *Box) Current() string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.current
}

// Seal encrypts plaintext for the subject, which must not contain a newline.
func (b *Box) Seal(ctx context.Context, subject, plaintext string) (keyID string, sealed []byte, err error) {
	b.mu.RLock()
	keyID = b.current
	keeper := b.keys[keyID]
	b.mu.RUnlock()
	sealed, err = keeper.Encrypt(ctx, bound(subject, plaintext))
	if err != nil {
		return "", nil, fmt.Errorf("seal with data key %s: %w", keyID, err)
	}
	return keyID, sealed, nil
}

// Open decrypts what Seal made for the same subject. No error holds any part of the text.
//
// Errors: ErrUnknownKey, ErrDamaged; others when the store does not answer.
func (b *Box) Open(ctx context.Context, subject, keyID string, sealed []byte) (string, error) {
	keeper, err := b.keeper(ctx, keyID)
	if err != nil {
		return "", err
	}
	plain, err := keeper.Decrypt(ctx, sealed)
	if err != nil {
		return "", fmt.Errorf("open with data key %s: %w: %w", keyID, ErrDamaged, err)
	}
	text, ok := unbound(subject, plain)
	if !ok {
		return "", fmt.Errorf("open with data key %s: it was sealed for something else: %w", keyID, ErrDamaged)
	}
	return text, nil
}

// keeper is the data key; one that another replica has made meanwhile is looked up.
func (b *Box) keeper(ctx context.Context, keyID string) (*secrets.Keeper, error) {
	find := func() *secrets.Keeper {
		b.mu.RLock()
		defer b.mu.RUnlock()
		return b.keys[keyID]
	}
	if k := find(); k != nil {
		return k, nil
	}
	if err := b.load(ctx); err != nil {
		return nil, err
	}
	if k := find(); k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("data key %s: %w", keyID, ErrUnknownKey)
}

// Close releases the keys.
func (b *Box) Close() error {
	var errs []error
	for _, m := range b.masters {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

const version = "hirewire.v1"

// bound is what is encrypted: neither driver of secrets takes associated data, so the subject goes inside.
func bound(subject, plaintext string) []byte {
	return []byte(version + "\n" + subject + "\n" + plaintext)
}

func unbound(subject string, plain []byte) (string, bool) {
	return strings.CutPrefix(string(plain), version+"\n"+subject+"\n")
}
