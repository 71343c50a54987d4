package access_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/notifier/internal/access"
)

// store is a database with keys that can be away.
type store struct {
	access.Store
	mu     sync.Mutex
	change int64
	keys   map[string]access.Key
	at     map[string]int64
	away   error
	asked  int
}

func newStore() *store { return &store{keys: map[string]access.Key{}, at: map[string]int64{}} }

func (s *store) set(name, secret string, revoked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change++
	k := access.Key{ID: name, Name: name, Role: access.Bank, Hash: access.Hash(secret)}
	if revoked {
		k.RevokedAt = time.Now()
	}
	s.keys[name], s.at[name] = k, s.change
}

func (s *store) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = err
}

func (s *store) LastChange(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.change, s.away
}

func (s *store) KeysSince(_ context.Context, since int64) (int64, []access.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []access.Key
	for name, k := range s.keys {
		if s.at[name] > since {
			keys = append(keys, k)
		}
	}
	return s.change, keys, s.away
}

func run(t *testing.T, s *store, static ...access.StaticKey) *access.Authenticator {
	t.Helper()
	a := access.NewAuthenticator(s, static, slog.New(slog.DiscardHandler))
	if err := a.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestKeysComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.set("a", "secret-a", false)
		a := run(t, s, access.StaticKey{Name: "boss", Role: access.Admin, Secret: "secret-boss"})
		if c, err := a.Caller(t.Context(), "secret-a"); err != nil || c.Name != "a" || c.Owner != "a" {
			t.Errorf("a: %+v, %v", c, err)
		}
		if c, err := a.Caller(t.Context(), "secret-boss"); err != nil || c.Role != access.Admin || c.Owner != "" {
			t.Errorf("boss: %+v, %v", c, err)
		}
		if _, err := a.Caller(t.Context(), "secret-b"); !errors.Is(err, access.ErrUnknownKey) {
			t.Errorf("b before it is made: %v", err)
		}
		s.set("b", "secret-b", false) // by another replica
		if c, err := a.Caller(t.Context(), "secret-b"); err != nil || c.Name != "b" {
			t.Errorf("b at once: %+v, %v", c, err)
		}
		s.set("a", "secret-a", true)
		time.Sleep(1100 * time.Millisecond)
		if _, err := a.Caller(t.Context(), "secret-a"); !errors.Is(err, access.ErrUnknownKey) {
			t.Errorf("a a second after it was revoked: %v", err)
		}
		s.set("b", "secret-b", true)
		a.Wake()
		synctest.Wait()
		if _, err := a.Caller(t.Context(), "secret-b"); !errors.Is(err, access.ErrUnknownKey) {
			t.Errorf("b as soon as its revocation was heard of: %v", err)
		}
	})
}

// TestWithoutTheStoreKeysAreRefused: a key may have been revoked since the store was last heard of.
func TestWithoutTheStoreKeysAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.set("a", "secret-a", false)
		a := run(t, s, access.StaticKey{Name: "boss", Role: access.Admin, Secret: "secret-boss"})
		away := errors.New("connection refused")
		s.lose(away)
		time.Sleep(2 * time.Second)
		if _, err := a.Caller(t.Context(), "secret-a"); err != nil {
			t.Errorf("2 s without the store: %v", err)
		}
		time.Sleep(3 * time.Second)
		if _, err := a.Caller(t.Context(), "secret-a"); !errors.Is(err, away) || errors.Is(err, access.ErrUnknownKey) {
			t.Errorf("5 s without the store: %v; want its error, which is no refusal", err)
		}
		if _, err := a.Caller(t.Context(), "secret-boss"); err != nil {
			t.Errorf("a static key without the store: %v", err)
		}
		s.lose(nil)
		if _, err := a.Caller(t.Context(), "secret-a"); err != nil {
			t.Errorf("with the store again: %v", err)
		}
	})
}

func TestGuessingCostsTheStoreLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		a := run(t, s)
		synctest.Wait()
		s.mu.Lock()
		before := s.asked
		s.mu.Unlock()
		var wait sync.WaitGroup
		for i := range 1000 {
			wait.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond) // over a second
				if _, err := a.Caller(t.Context(), fmt.Sprintf("guess-%d", i)); !errors.Is(err, access.ErrUnknownKey) {
					t.Errorf("guess %d: %v", i, err)
				}
			})
		}
		wait.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := s.asked - before; n > 20 {
			t.Errorf("1,000 guesses in a second asked the store %d times", n)
		}
	})
}

func TestCheck(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "bank-a.1_x": true, "0": true, "": false, "-a": false, "A": false, "a b": false, "ä": false, "notifier": false, "a\n": false,
	} {
		if err := access.Check(name, access.Bank); (err == nil) != ok {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if err := access.Check("a", "king"); err == nil {
		t.Error("an unknown role is taken")
	}
}

func BenchmarkCaller(b *testing.B) {
	s := newStore()
	for i := range 1000 {
		s.set(fmt.Sprint(i), fmt.Sprintf("a-secret-of-some-length-%d", i), false)
	}
	a := access.NewAuthenticator(s, nil, slog.New(slog.DiscardHandler))
	if err := a.Refresh(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Caller(b.Context(), "a-secret-of-some-length-500"); err != nil {
			b.Fatal(err)
		}
	}
}

// hanging is a database that takes calls and does not answer.
type hanging struct{ access.Store }

func (hanging) LastChange(ctx context.Context) (int64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestAStoreThatHangsHoldsNobodyForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := access.NewAuthenticator(hanging{}, nil, slog.New(slog.DiscardHandler))
		began := time.Now()
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() {
				if _, err := a.Caller(t.Context(), "secret-a"); err == nil || errors.Is(err, access.ErrUnknownKey) {
					t.Errorf("while the store hangs: %v", err)
				}
			})
		}
		wait.Wait()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("100 calls ended after %s", took)
		}
	})
}
