package sqlstore_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/secret"
	"hirewire.dev/platform/id"
)

func apiKey(name, secret string) access.Key {
	return access.Key{ID: id.New("key"), Name: name, Role: access.Bank, Hash: access.Hash(secret), CreatedAt: now()}
}

func TestAPIKeys(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		a, b := apiKey("a", "secret-a"), apiKey("b", "secret-b")
		for _, k := range []access.Key{a, b} {
			if before, err := s.CreateKey(t.Context(), k, access.Request{Actor: "admin", ID: k.Name, Resource: k.ID, At: now()}, entry(k.ID)); err != nil || before != nil {
				t.Fatal(before, err)
			}
		}
		if before, err := s.CreateKey(t.Context(), apiKey("c", "c"), access.Request{Actor: "admin", ID: "a", At: now()}, entry("x")); err != nil || before == nil || before.Resource != a.ID {
			t.Errorf("a request made before: %+v, %v", before, err)
		}
		if _, err := s.CreateKey(t.Context(), apiKey("a", "other"), access.Request{}, entry("x")); !errors.Is(err, access.ErrNameTaken) {
			t.Errorf("a taken name: %v", err)
		}
		if _, err := s.CreateKey(t.Context(), apiKey("d", "secret-b"), access.Request{}, entry("x")); !errors.Is(err, access.ErrSecretTaken) {
			t.Errorf("a taken secret: %v", err)
		}
		keys, err := s.Keys(t.Context(), "", 10)
		if diff := cmp.Diff([]access.Key{a, b}, keys); diff != "" || err != nil {
			t.Errorf("keys: %v (-want +got):\n%s", err, diff)
		}
		if keys, err := s.Keys(t.Context(), a.ID, 10); err != nil || len(keys) != 1 {
			t.Errorf("keys after the first: %v, %v", keys, err)
		}
		epoch, keys, err := s.KeysSince(t.Context(), -1)
		if err != nil || len(keys) != 2 {
			t.Fatalf("keys since the beginning: %v, %v", keys, err)
		}
		describe := func(k access.Key) audit.Entry { e := entry(k.ID); e.Action = "Revoke"; return e }
		for range 2 {
			k, err := s.RevokeKey(t.Context(), a.ID, now(), describe)
			if err != nil || k.RevokedAt.IsZero() {
				t.Errorf("revoke: %+v, %v", k, err)
			}
		}
		if _, keys, err = s.KeysSince(t.Context(), epoch); err != nil || len(keys) != 1 || keys[0].RevokedAt.IsZero() {
			t.Errorf("keys since they were made: %v, %v", keys, err)
		}
		if entries, err := s.AuditEntries(t.Context(), audit.Query{Resource: a.ID, Limit: 10}); err != nil || len(entries) != 2 {
			t.Errorf("audit of making and revoking, the second time of which changed nothing: %d, %v", len(entries), err)
		}
		if _, err := s.RevokeKey(t.Context(), id.New("key"), now(), describe); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("revoke an unknown key: %v", err)
		}
		if _, err := s.CreateKey(t.Context(), apiKey("a", "new"), access.Request{}, entry("x")); err != nil {
			t.Errorf("the name of a revoked key: %v", err)
		}
	})
}

func TestDataKeys(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		want := []secret.DataKey{
			{ID: id.New("dky"), MasterID: "m1", Sealed: []byte{0, 1}, CreatedAt: now()},
			{ID: id.New("dky"), MasterID: "m2", Sealed: []byte{2}, CreatedAt: now()},
		}
		for _, k := range []secret.DataKey{want[1], want[0], want[1]} {
			if err := s.AddDataKey(t.Context(), k); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.DataKeys(t.Context())
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}
