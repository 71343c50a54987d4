package banksvc

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"hirewire.dev/webhook"
)

// buffer is a log that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Whatever goes wrong, neither a name nor a secret gets into the log, the metrics or an answer.
func TestNothingPersonalOrSecretLeaks(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		tr := newTruth(t)
		secret := webhook.NewSecret()
		cfg := config(url, secret)
		alone(tr)(&cfg)
		var log buffer
		s, err := New(t.Context(), cfg, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		if err != nil {
			t.Fatal(err)
		}
		b := &bank{Service: s, secret: secret, client: newClient()}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		b.api = b.dial(t, operatorKey)

		const given, family = "Canarina", "Canaroli"
		ada := person(given + " " + family)
		b.mustSend(t, created(ada))
		b.settled(t)
		stranger := created(person(given + " " + family))
		stranger.thin = true
		b.mustSend(t, stranger)
		broken := []byte(strings.Replace(string(created(ada).body()), given, given+`\u0007`, 1))
		_ = b.do(t, b.signed(t, "evt_broken", broken))
		_ = b.do(t, b.signed(t, "evt_broken_json", []byte(`{"name":"`+given))) // not JSON
		l := good(t, b)
		l.sigs = []string{"v1,AAAA"}
		_ = b.do(t, l.request(t, b))
		_ = b.get(t, "/v1/accounts?status="+given, operatorKey)
		_ = b.get(t, "/v1/accounts", "wrong-"+operatorKey)
		await(t, "failure", func() bool { return b.event(t, stranger.id).Attempts > 0 })
		number := b.accounts(t)[ada.ID].AccountNumber
		metrics := b.get(t, "/metrics", "").body
		failed := b.event(t, "evt_broken").LastError + b.event(t, "evt_broken_json").LastError + b.event(t, stranger.id).LastError
		b.client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "quarantined") {
			t.Error("the log says nothing")
		}
		for what, text := range map[string]string{"log": log.String(), "metrics": metrics, "last error": failed} {
			for _, canary := range []string{given, family, number, secret.Reveal(), operatorKey, "employee-key-0123456789abcdef"} {
				if strings.Contains(text, canary) {
					t.Errorf("%q in the %s", canary, what)
				}
			}
		}
	})
}
