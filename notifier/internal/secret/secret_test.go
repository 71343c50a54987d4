package secret_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"gocloud.dev/secrets"
	"gocloud.dev/secrets/localsecrets"

	"hirewire.dev/notifier/internal/secret"
	"hirewire.dev/platform/id"
)

// memory keeps keys and texts, as the database does.
type memory struct {
	mu    sync.Mutex
	keys  []secret.DataKey
	texts map[string]secret.Text
}

func (m *memory) DataKeys(context.Context) ([]secret.DataKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.keys), nil
}

func (m *memory) AddDataKey(_ context.Context, k secret.DataKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = append(m.keys, k)
	return nil
}

func (m *memory) ReplaceDataKey(_ context.Context, k secret.DataKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.keys, func(have secret.DataKey) bool { return have.ID == k.ID })
	m.keys[i] = k
	return nil
}

func (m *memory) SealedOtherwise(_ context.Context, keyID string, limit int) ([]secret.Text, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []secret.Text
	for _, t := range m.texts {
		if t.KeyID != keyID && len(out) < limit {
			out = append(out, t)
		}
	}
	return out, nil
}

func (m *memory) Reseal(_ context.Context, was secret.Text, keyID string, sealed []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	was.KeyID, was.Sealed = keyID, sealed
	m.texts[was.ID] = was
	return nil
}

func master(t *testing.T, fill byte) secret.Master {
	t.Helper()
	m, err := secret.OpenMaster(t.Context(), masterText(fill))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func masterText(fill byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, 32))
}

func box(t *testing.T, m *memory, current secret.Master, old ...secret.Master) *secret.Box {
	t.Helper()
	b, err := secret.NewBox(t.Context(), m, id.New, current, old...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestWhatOneReplicaSealsAnotherOpens(t *testing.T) {
	m := &memory{}
	a := box(t, m, master(t, 1))
	b := box(t, m, master(t, 1))
	keyID, sealed, err := a.Seal(t.Context(), "sub_1/k", "whsec_planted")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("planted")) {
		t.Error("the sealed form holds the text")
	}
	if got, err := b.Open(t.Context(), "sub_1/k", keyID, sealed); err != nil || got != "whsec_planted" {
		t.Errorf("opened: %q, %v", got, err)
	}
	if _, again, _ := a.Seal(t.Context(), "sub_1/k", "whsec_planted"); bytes.Equal(sealed, again) {
		t.Error("sealing twice gives the same bytes")
	}
	// A data key that another replica makes later is found when it is needed.
	if err := a.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if keyID, sealed, err = a.Seal(t.Context(), "s", "x"); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Open(t.Context(), "s", keyID, sealed); err != nil || got != "x" {
		t.Errorf("sealed with a new data key: %q, %v", got, err)
	}
}

func TestASealedTextOpensOnlyWhereItBelongs(t *testing.T) {
	b := box(t, &memory{}, master(t, 1))
	keyID, sealed, err := b.Seal(t.Context(), "sub_1/k", "text")
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(sealed)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		subject, keyID string
		sealed         []byte
		want           error
	}{
		"another row":     {"sub_2/k", keyID, sealed, secret.ErrDamaged},
		"part of the row": {"sub_1", keyID, sealed, secret.ErrDamaged},
		"one bit flipped": {"sub_1/k", keyID, flipped, secret.ErrDamaged},
		"cut":             {"sub_1/k", keyID, sealed[:10], secret.ErrDamaged},
		"empty":           {"sub_1/k", keyID, nil, secret.ErrDamaged},
		"unknown key":     {"sub_1/k", "dky_none", sealed, secret.ErrUnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := b.Open(t.Context(), c.subject, c.keyID, c.sealed)
			if got != "" || !errors.Is(err, c.want) {
				t.Errorf("opened %q, %v; want %v", got, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "text") {
				t.Errorf("the error holds the text: %v", err)
			}
		})
	}
}

func TestAWrongMasterKeyFailsClosed(t *testing.T) {
	m := &memory{}
	box(t, m, master(t, 1))
	before := slices.Clone(m.keys)
	_, err := secret.NewBox(t.Context(), m, id.New, master(t, 2))
	if !errors.Is(err, secret.ErrUnknownKey) || !strings.Contains(err.Error(), before[0].MasterID) {
		t.Errorf("with another master key: %v; want an error that names the needed one", err)
	}
	if len(m.keys) != 1 {
		t.Errorf("the failed start left %d data keys", len(m.keys))
	}
	m.keys[0].Sealed = append([]byte(nil), m.keys[0].Sealed...)
	m.keys[0].Sealed[30] ^= 1
	if _, err := secret.NewBox(t.Context(), m, id.New, master(t, 1)); !errors.Is(err, secret.ErrDamaged) {
		t.Errorf("with a damaged data key: %v", err)
	}
}

func TestRewrapRetiresTheOldMasterKey(t *testing.T) {
	m := &memory{texts: map[string]secret.Text{}}
	old := box(t, m, master(t, 1))
	for i := range 450 {
		name := id.New("sgk")
		keyID, sealed, err := old.Seal(t.Context(), name, "secret "+name)
		if err != nil {
			t.Fatal(err)
		}
		m.texts[name] = secret.Text{Place: "test", ID: name, Subject: name, KeyID: keyID, Sealed: sealed}
		if i == 200 {
			if err := old.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	both := box(t, m, master(t, 2), master(t, 1))
	if n, err := both.Rewrap(t.Context(), m); err != nil || n != 450 {
		t.Fatalf("rewrapped %d, %v", n, err)
	}
	// A replica that still seals with the old data key, as it may until it looks for new ones.
	keyID, sealed, err := old.Seal(t.Context(), "late", "late secret")
	if err != nil {
		t.Fatal(err)
	}
	only := box(t, m, master(t, 2))
	for _, text := range m.texts {
		if text.KeyID != both.Current() {
			t.Fatalf("%s is sealed with %s still", text.ID, text.KeyID)
		}
		if got, err := only.Open(t.Context(), text.Subject, text.KeyID, text.Sealed); err != nil || got != "secret "+text.ID {
			t.Fatalf("opened with the new master key alone: %q, %v", got, err)
		}
	}
	if got, err := only.Open(t.Context(), "late", keyID, sealed); err != nil || got != "late secret" {
		t.Errorf("what was sealed late: %q, %v", got, err)
	}
	if _, err := secret.NewBox(t.Context(), m, id.New, master(t, 1)); !errors.Is(err, secret.ErrUnknownKey) {
		t.Errorf("with the old master key alone: %v", err)
	}
}

func TestCheckMaster(t *testing.T) {
	for _, key := range []string{
		"", "short", masterText(1)[:40], base64.StdEncoding.EncodeToString(make([]byte, 31)), base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"base64key://", "base64key://" + masterText(1), "file:///etc/passwd", "://", "unknown://x", "https://kms.test/key",
	} {
		err := secret.CheckMaster(key)
		if err == nil {
			t.Errorf("%q is taken", key)
		} else if len(key) > 10 && strings.Contains(err.Error(), key) {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
	for _, key := range []string{masterText(7), "awskms://alias/hirewire?region=eu-central-1", "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k"} {
		if err := secret.CheckMaster(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
}

// remote is a key management service: its keys are local ones by another name.
type remote struct{ keys map[string][32]byte }

func (r remote) OpenKeeperURL(_ context.Context, u *url.URL) (*secrets.Keeper, error) {
	key, ok := r.keys[u.Host]
	if !ok {
		return nil, errors.New("no such key")
	}
	return localsecrets.NewKeeper(key), nil
}

func TestAMasterKeyMayBeRemote(t *testing.T) {
	secrets.DefaultURLMux().RegisterKeeper("testkms", remote{map[string][32]byte{"one": {1}, "two": {2}}})
	open := func(url string) secret.Master {
		t.Helper()
		m, err := secret.OpenMaster(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := &memory{texts: map[string]secret.Text{}}
	keyID, sealed, err := box(t, m, open("testkms://one?region=a")).Seal(t.Context(), "s", "text")
	if err != nil {
		t.Fatal(err)
	}
	// How the service is reached is not which key it is.
	if got, err := box(t, m, open("testkms://one?region=b")).Open(t.Context(), "s", keyID, sealed); err != nil || got != "text" {
		t.Errorf("opened %q, %v", got, err)
	}
	if _, err := secret.NewBox(t.Context(), m, id.New, open("testkms://two")); !errors.Is(err, secret.ErrUnknownKey) {
		t.Errorf("with another key of the service: %v", err)
	}
	// From the service to a key of one's own, and nothing is lost.
	both := box(t, m, master(t, 3), open("testkms://one"))
	if _, err := both.Rewrap(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got, err := box(t, m, master(t, 3)).Open(t.Context(), "s", keyID, sealed); err != nil || got != "text" {
		t.Errorf("opened with the new master key: %q, %v", got, err)
	}
	if _, err := secret.OpenMaster(t.Context(), "testkms://none"); err == nil {
		t.Error("a key that is not there was opened")
	}
}
