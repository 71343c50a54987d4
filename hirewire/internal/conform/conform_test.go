package conform_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hirewire.dev/hirewire/internal/conform"
	"hirewire.dev/webhook"
)

// A receiver as one finds them: the body is parsed first, the signature is looked for in the header, nothing has a bound.
func naive(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var event map[string]any
	if err := json.Unmarshal(body, &event); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if !strings.HasPrefix(r.Header.Get("webhook-signature"), "v1,") {
		http.Error(w, "no signature", http.StatusUnauthorized)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// verifying is one that verifies everything, but with no bound, and refuses what it takes for outdated.
func verifying(secret webhook.Secret) http.HandlerFunc {
	verifier := webhook.Verifier{Secrets: []webhook.Secret{secret}}
	var mu sync.Mutex
	newest := map[string]int{}
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if _, err := verifier.Verify(r.Header, body); err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var event struct {
			Data struct {
				Employee struct {
					ID      string
					Version int
				}
			}
		}
		_ = json.Unmarshal(body, &event)
		mu.Lock()
		defer mu.Unlock()
		if e := event.Data.Employee; e.Version < newest[e.ID] {
			w.WriteHeader(http.StatusConflict)
		} else {
			newest[e.ID] = e.Version
		}
	}
}

// holding does as another one, but lets the sender of a large body wait, or reads all of it before it refuses it.
func holding(next http.HandlerFunc, read bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.ContentLength >= 0 && r.ContentLength < 1<<20:
			next(w, r)
		case read:
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		default:
			<-time.After(1500 * time.Millisecond) // longer than the client waits
		}
	}
}

func TestReceiversFailWhereTheyShould(t *testing.T) {
	secret := webhook.NewSecret()
	whole, err := webhook.NewReceiver(webhook.ReceiverConfig{
		Secrets: []webhook.Secret{secret}, Store: webhook.StoreFunc(func(context.Context, webhook.Delivery) error { return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		receiver       http.HandlerFunc
		failed, warned []string
	}{
		"whole": {receiver: whole.ServeHTTP},
		"naive": {
			receiver: naive,
			failed: []string{
				"secret rotation", "no id", "no timestamp", "empty signature", "truncated signature", "signature in hexadecimal", "zero signature", "another id",
				"another timestamp", "timestamp that is no number", "body changed by one byte", "body written anew", "another's secret",
				"six minutes old", "six minutes ahead", "oversized body", "endless body",
			},
			warned: []string{"signed, but not understood", "ownership challenge", "20,000 signatures", "GET"},
		},
		"verifying": {
			receiver: verifying(secret),
			failed:   []string{"messages out of order", "oversized body", "endless body"},
			warned:   []string{"ownership challenge", "GET"},
		},
		"reading all before it refuses": {
			receiver: holding(whole.ServeHTTP, true),
			failed:   []string{"oversized body", "endless body"},
		},
		"hanging": {
			receiver: holding(whole.ServeHTTP, false),
			failed:   []string{"oversized body", "endless body"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(tt.receiver)
			defer server.Close()
			client := conform.NewClient(nil)
			client.Timeout = time.Second
			var failed, warned []string
			receiver := &conform.Receiver{URL: server.URL, Secret: secret, Client: client}
			err := receiver.Run(t.Context(), func(f conform.Finding) {
				switch f.Grade {
				case conform.Fail:
					failed = append(failed, f.Check)
				case conform.Warn:
					warned = append(warned, f.Check)
				case conform.Pass:
				}
				if (f.Fix == "") != (f.Grade == conform.Pass) {
					t.Errorf("%s: grade %s with fix %q", f.Check, f.Grade, f.Fix)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(failed, tt.failed) {
				t.Errorf("failed:\n%q\nwant:\n%q", failed, tt.failed)
			}
			if !slices.Equal(warned, tt.warned) {
				t.Errorf("warned:\n%q\nwant:\n%q", warned, tt.warned)
			}
		})
	}
}

// Nothing that follows would tell anything: whoever takes nothing refuses all forgeries, too.
func TestReceiverThatTakesNothingFailsOnceWithWhatToCheck(t *testing.T) {
	for name, status := range map[string]int{"another path": 404, "another secret": 401, "moved": 302, "broken": 500} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
			defer server.Close()
			var findings []conform.Finding
			receiver := &conform.Receiver{URL: server.URL, Secret: webhook.NewSecret(), Client: conform.NewClient(nil)}
			if err := receiver.Run(t.Context(), func(f conform.Finding) { findings = append(findings, f) }); err != nil {
				t.Fatal(err)
			}
			if len(findings) != 1 || findings[0].Grade != conform.Fail || !strings.HasPrefix(findings[0].Fix, "check --url and --secret first; ") {
				t.Errorf("findings %+v", findings)
			}
		})
	}
}

func TestUnreachableReceiverIsAnError(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	receiver := &conform.Receiver{URL: server.URL, Secret: webhook.NewSecret(), Client: conform.NewClient(nil)}
	if err := receiver.Run(t.Context(), func(conform.Finding) {}); err == nil {
		t.Error("no error")
	}
}
