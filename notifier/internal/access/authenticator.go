package access

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// How fresh the keys in memory are. A key that was revoked is refused everywhere within refreshEvery, and within maxAge when
// the store cannot be asked: from then on only static keys are let in.
const (
	refreshEvery   = time.Second
	refreshTimeout = 2 * time.Second
	maxAge         = 4 * time.Second
	// missEvery bounds how often unknown keys make us look: a key that was made elsewhere works at once, and guessing costs
	// the store nothing.
	missEvery = 100 * time.Millisecond
)

// StaticKey is a key from the configuration: always in force.
type StaticKey struct {
	Name   string
	Role   Role
	Secret string
}

// Authenticator tells who holds a key. It keeps the keys in memory and follows the store.
type Authenticator struct {
	store  Store
	log    *slog.Logger
	static map[[sha256.Size]byte]Caller
	known  atomic.Pointer[known]
	wake   chan struct{}

	turn     chan struct{} // holds one token: one refresh at a time
	failure  error         // of the last refresh that failed, and when; whoever has the turn
	failedAt time.Time
}

// known are the keys in force after one change; immutable.
type known struct {
	change int64
	at     time.Time // when the store said so
	keys   map[[sha256.Size]byte]Key
}

// NewAuthenticator makes an Authenticator; Run keeps it fresh.
func NewAuthenticator(store Store, static []StaticKey, log *slog.Logger) *Authenticator {
	a := &Authenticator{store: store, log: log, static: make(map[[sha256.Size]byte]Caller, len(static)), wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	for _, k := range static {
		a.static[Hash(k.Secret)] = Caller{Name: k.Name, Role: k.Role, Owner: Owner(k.Role, k.Name)}
	}
	a.known.Store(&known{change: -1})
	return a
}

// Wake makes the Authenticator look at the store now.
func (a *Authenticator) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run follows the store until ctx ends.
func (a *Authenticator) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-timer.C:
		}
		if err := a.Refresh(ctx); err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "API keys could not be refreshed", "error", err, "age", time.Since(a.known.Load().at))
		}
		timer.Reset(refreshEvery/2 + rand.N(refreshEvery/2)) //nolint:gosec // Spreads replicas over time; nothing is guessed from it.
	}
}

// Caller is who holds the secret.
//
// Errors: ErrUnknownKey; any other error means that it could not be found out.
func (a *Authenticator) Caller(ctx context.Context, secret string) (Caller, error) {
	hash := Hash(secret)
	if c, ok := a.static[hash]; ok {
		return c, nil
	}
	now := a.known.Load()
	if time.Since(now.at) > maxAge {
		if err := a.refresh(ctx, time.Now().Add(-maxAge)); err != nil {
			return Caller{}, err
		}
		now = a.known.Load()
	}
	k, ok := now.keys[hash]
	if !ok {
		if err := a.lookAgain(ctx); err != nil {
			return Caller{}, err
		}
		k, ok = a.known.Load().keys[hash]
	}
	if !ok {
		return Caller{}, ErrUnknownKey
	}
	return Caller{Name: k.Name, Role: k.Role, Owner: k.Owner()}, nil
}

// HasAdmin says whether anybody could manage the keys.
func (a *Authenticator) HasAdmin() bool {
	for _, c := range a.static {
		if c.Role == Admin {
			return true
		}
	}
	for _, k := range a.known.Load().keys {
		if k.Role == Admin {
			return true
		}
	}
	return false
}

// lookAgain refreshes after a key was not found: it may have been made elsewhere a moment ago. All who ask within missEvery
// share one look at the store.
func (a *Authenticator) lookAgain(ctx context.Context) error {
	asked := time.Now()
	timer := time.NewTimer(missEvery - time.Since(a.known.Load().at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return a.refresh(ctx, asked)
	}
}

// Refresh takes over what has changed in the store.
func (a *Authenticator) Refresh(ctx context.Context) error { return a.refresh(ctx, time.Now()) }

// refresh takes over what has changed, unless somebody has done so since the time.
func (a *Authenticator) refresh(ctx context.Context, since time.Time) error {
	asked := time.Now()
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if a.known.Load().at.After(since) {
		return nil
	}
	if a.failedAt.After(asked) {
		return a.failure // those who waited meanwhile need not all wait for it again
	}
	err := a.takeOver(ctx)
	if err != nil {
		a.failure, a.failedAt = err, time.Now()
	}
	return err
}

// takeOver asks the store what has changed.
func (a *Authenticator) takeOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	was := a.known.Load()
	at := time.Now()
	last, err := a.store.LastChange(ctx)
	if err != nil {
		return fmt.Errorf("refresh API keys: %w", err)
	}
	if last == was.change {
		a.known.Store(&known{change: last, at: at, keys: was.keys})
		return nil
	}
	last, changed, err := a.store.KeysSince(ctx, was.change)
	if err != nil {
		return fmt.Errorf("refresh API keys: %w", err)
	}
	keys := was.keys
	if len(changed) > 0 {
		keys = make(map[[sha256.Size]byte]Key, len(was.keys)+len(changed))
		maps.Copy(keys, was.keys)
		for _, k := range changed {
			if k.RevokedAt.IsZero() {
				keys[k.Hash] = k
			} else {
				delete(keys, k.Hash)
			}
		}
	}
	a.known.Store(&known{change: last, at: at, keys: keys})
	return nil
}
