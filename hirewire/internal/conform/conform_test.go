package conform_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

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

func TestNaiveReceiverFailsWhereItShould(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(naive))
	defer server.Close()
	var failed, warned []string
	receiver := &conform.Receiver{URL: server.URL, Secret: webhook.NewSecret(), Client: conform.NewClient(nil)}
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
	wantFailed := []string{
		"secret rotation", "no id", "no timestamp", "empty signature", "truncated signature", "signature in hexadecimal", "zero signature", "another id",
		"another timestamp", "timestamp that is no number", "body changed by one byte", "body written anew", "another's secret",
		"six minutes old", "six minutes ahead", "oversized body", "endless body",
	}
	if !slices.Equal(failed, wantFailed) {
		t.Errorf("failed:\n%q\nwant:\n%q", failed, wantFailed)
	}
	wantWarned := []string{"signed, but not understood", "ownership challenge", "20,000 signatures", "GET"}
	if !slices.Equal(warned, wantWarned) {
		t.Errorf("warned:\n%q\nwant:\n%q", warned, wantWarned)
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
