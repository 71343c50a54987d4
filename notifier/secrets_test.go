package notifier_test

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"hirewire.dev/notifier"
	"hirewire.dev/platform/sqldb"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

// TestNoSecretIsWrittenInTheClear plants secrets in every way there is and looks for them in everything that is written.
func TestNoSecretIsWrittenInTheClear(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		admin := n.as(t, "admin")
		b := newBank(t)
		planted := []string{keys["admin"], keys["bank-a"], masterKey(1)}
		for i := range 20 {
			req := &notifierv1.CreateSubscriptionRequest{
				Subscription: &notifierv1.Subscription{Name: strings.Repeat("n", i+1), Url: b.URL + "?token=planted-in-the-query"}, RequestId: strings.Repeat("r", i+1),
			}
			if i%2 == 0 {
				req.Subscription.Secret = webhook.NewSecret().Reveal()
			}
			s, err := admin.CreateSubscription(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			rotated, err := admin.RotateSecret(t.Context(), &notifierv1.RotateSecretRequest{Id: s.GetId(), RequestId: "rotate" + s.GetId()})
			if err != nil {
				t.Fatal(err)
			}
			key, err := admin.CreateApiKey(t.Context(), &notifierv1.CreateApiKeyRequest{
				ApiKey: &notifierv1.ApiKey{Name: strings.Repeat("k", i+1), Role: notifierv1.ApiKey_VIEWER}, RequestId: "key" + s.GetId(),
			})
			if err != nil {
				t.Fatal(err)
			}
			planted = append(planted, s.GetSecret(), rotated.GetSecret(), key.GetSecret())
		}
		_, err := admin.RotateSecret(t.Context(), &notifierv1.RotateSecretRequest{Id: "sub_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", Secret: planted[3]})
		wantCode(t, "rotate what is not there", err, codes.NotFound)

		_, metrics := get(t, "http://"+n.HTTPAddr()+"/metrics")
		dump := dumpDatabase(t, url)
		for place, text := range map[string]string{"the log": n.logs.String(), "the metrics": metrics, "the database": dump} {
			for _, secret := range planted {
				bare := strings.TrimPrefix(secret, "whsec_")
				if strings.Contains(text, bare) {
					t.Errorf("%s holds the secret %s…", place, secret[:10])
				}
			}
		}
		if logs := n.logs.String(); strings.Contains(logs, "planted-in-the-query") {
			t.Error("the log holds a query")
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
			grepFiles(t, filepath.Dir(path), planted)
		}
	})
}

// dumpDatabase is every value of every table, as text.
func dumpDatabase(t *testing.T, url string) string {
	t.Helper()
	db, err := sqldb.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tables := `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()`
	if db.Engine == sqldb.SQLite {
		tables = `SELECT name FROM sqlite_master WHERE type = 'table'`
	}
	var names []string
	if err := db.SelectContext(t.Context(), &names, tables); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, name := range names {
		rows, err := db.QueryxContext(t.Context(), `SELECT * FROM `+name)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values, err := rows.SliceScan()
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range values {
				switch v := v.(type) {
				case []byte:
					out.Write(v)
				case string:
					out.WriteString(v)
				}
				out.WriteByte('\n')
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
	}
	if out.Len() < 1000 {
		t.Fatalf("the dump has %d bytes only: nothing was looked at", out.Len())
	}
	return out.String()
}

// grepFiles looks into the files themselves, where deleted rows live on.
func grepFiles(t *testing.T, dir string, planted []string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		seen += len(text)
		for _, secret := range planted {
			if bytes.Contains(text, []byte(strings.TrimPrefix(secret, "whsec_"))) {
				t.Errorf("%s holds the secret %s…", filepath.Base(path), secret[:10])
			}
		}
		return err
	})
	if err != nil || seen < 10_000 {
		t.Errorf("looked at %d bytes of files, %v", seen, err)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}

func TestTheMasterKeyCanBeExchanged(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		cfg := config(t, url)
		n := start(t, cfg)
		b := newBank(t)
		s := n.as(t, "bank-a").subscribe(t, b, nil)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		secret := parseSecret(t, s.GetSecret())

		wrong := cfg
		wrong.MasterKey = notifier.NewMasterKey(masterKey(2))
		if _, err := notifier.New(t.Context(), wrong, nil); err == nil || !strings.Contains(err.Error(), "NOTIFIER_MASTER_KEY") || strings.Contains(err.Error(), masterKey(2)) {
			t.Fatalf("with another master key: %v; want a refusal that names the setting and not the key", err)
		}
		both := wrong
		both.OldMasterKeys = notifier.MasterKeys{cfg.MasterKey}
		n = start(t, both)
		if !n.as(t, "bank-a").accepts(t, b, s, secret) {
			t.Error("with both master keys, the secret does not sign")
		}
		if sealed, err := notifier.Rewrap(t.Context(), both); err != nil || sealed == 0 {
			t.Errorf("rewrapped %d while a replica runs, %v", sealed, err)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n = start(t, wrong) // which is the right one now
		if !n.as(t, "bank-a").accepts(t, b, s, secret) {
			t.Error("with the new master key alone, the secret does not sign")
		}
		if _, err := notifier.New(t.Context(), cfg, nil); err == nil {
			t.Error("the old master key still opens the database")
		}
	})
}

func TestADamagedSecretParksItsSubscriptionAlone(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		cfg := config(t, url)
		n := start(t, cfg)
		c := n.as(t, "bank-a")
		bad, good := newBank(t), newBank(t)
		damaged := c.subscribe(t, bad, func(s *notifierv1.Subscription) { s.Name = "bad" })
		well := c.subscribe(t, good, func(s *notifierv1.Subscription) { s.Name = "good" })
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		db, err := sqldb.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		// Its key, moved there from the other: sealed well, for something else.
		var sealed []byte
		if err := db.GetContext(t.Context(), &sealed, `SELECT sealed FROM signing_keys WHERE subscription_id = $1`, well.GetId()); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), `UPDATE signing_keys SET sealed = $2 WHERE subscription_id = $1`, damaged.GetId(), sealed); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}

		n = start(t, cfg)
		c = n.as(t, "bank-a")
		if !c.accepts(t, good, well, parseSecret(t, well.GetSecret())) {
			t.Error("the other subscription suffers")
		}
		d, err := c.SendTestEvent(t.Context(), &notifierv1.SendTestEventRequest{Id: damaged.GetId()})
		if err != nil || d.GetStatus() != notifierv1.Delivery_PENDING {
			t.Errorf("an event for the damaged one: %v, %v; want it held", d, err)
		}
		if !strings.Contains(n.logs.String(), "signing keys of a subscription do not open") || !strings.Contains(n.logs.String(), damaged.GetId()) {
			t.Error("the log does not say which subscription is damaged")
		}
		// A rotation without overlap heals it, and what was held goes out.
		got, err := c.RotateSecret(t.Context(), &notifierv1.RotateSecretRequest{Id: damaged.GetId(), Overlap: zero()})
		if err != nil {
			t.Fatal(err)
		}
		if err := bad.SetSecrets(parseSecret(t, got.GetSecret())); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what was held arrives", 5*time.Second, func() bool {
			for _, e := range bad.seen() {
				if e.ID == d.GetEventId() {
					return true
				}
			}
			return false
		})
	})
}
