package subscription_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/secret"
	"hirewire.dev/notifier/internal/sqlstore"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb/sqldbtest"
	"hirewire.dev/webhook"
)

// bubble is the package at work on SQLite, inside a synctest bubble, with receivers that are no further than a call.
type bubble struct {
	t        *testing.T
	store    *sqlstore.Store
	box      *secret.Box
	catalog  *subscription.Catalog
	service  *subscription.Service
	health   *subscription.Health
	verifier *subscription.Verifier
	post     poster
	logs     *bytes.Buffer
}

// newBubble starts it. The clock of a bubble begins in 2000, when nothing may be signed; so it waits a while first.
func newBubble(t *testing.T) *bubble {
	t.Helper()
	time.Sleep(2 * 365 * 24 * time.Hour)
	b := &bubble{t: t, logs: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(b.logs, nil))
	b.store = sqlstore.New(sqldbtest.OpenSQLite(t))
	t.Cleanup(func() { _ = b.store.Close() })
	if err := b.store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	master, err := secret.OpenMaster(t.Context(), base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	if b.box, err = secret.NewBox(t.Context(), b.store, id.New, master); err != nil {
		t.Fatal(err)
	}
	b.post.answers = map[string]http.Handler{}
	b.catalog = subscription.NewCatalog(b.store, b.box, compile, b.store.Now, log)
	b.service = subscription.NewService(subscription.ServiceConfig{
		Store: b.store, Sealer: b.box, NewID: id.New, Now: b.store.Now,
		Rules: subscription.Rules{
			CheckURL: func(string) error { return nil }, Compile: compile,
			EventTypes: []string{"employee.created", "employee.updated", "employee.terminated"},
		},
		Challenger: subscription.NewProver(&b.post, b.catalog, id.New),
		Changed: func(ctx context.Context) {
			if _, err := b.catalog.Reload(ctx); err != nil {
				t.Error(err)
			}
			b.verifier.Wake()
		},
	})
	b.verifier = subscription.NewVerifier(b.service, log)
	b.health = subscription.NewHealth(b.service, b.catalog, &b.post, log, subscription.HealthConfig{})
	return b
}

// run runs parts until stop: those that look every second only where days do not pass.
func (b *bubble) run(parts ...func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	var wait sync.WaitGroup
	for _, run := range parts {
		wait.Go(func() {
			if err := run(ctx); err != nil {
				b.t.Error(err)
			}
		})
	}
	return func() { cancel(); wait.Wait() }
}

var bankA = access.Caller{Name: "bank-a", Role: access.Bank, Owner: "bank-a", CallID: "call-1"}

// create makes a subscription whose receiver answers at the URL.
func (b *bubble) create(url string, edit func(*subscription.Draft)) subscription.Shown {
	b.t.Helper()
	secret := webhook.NewSecret()
	d := subscription.Draft{Subscription: subscription.Subscription{Name: url, URL: url}, Secret: secret.Reveal()}
	if edit != nil {
		edit(&d)
	}
	shown, err := b.service.Create(b.t.Context(), bankA, d)
	if err != nil {
		b.t.Fatal(err)
	}
	b.post.receive(b.t, url, secret)
	return shown
}

// activate lets the receiver answer the challenge.
func (b *bubble) activate(id string) {
	b.t.Helper()
	if _, err := b.service.Verify(b.t.Context(), bankA, id); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bubble) get(id string) subscription.Record {
	b.t.Helper()
	r, err := b.service.Get(b.t.Context(), bankA, id)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// compile takes one filter: the type of the event.
func compile(filter string) (func(*subscription.Candidate) bool, error) {
	if filter == "bad" {
		return nil, errors.New("it does not compile")
	}
	return func(c *subscription.Candidate) bool { return c.Type == filter }, nil
}

// poster delivers to handlers by their URL, as a network would.
type poster struct {
	mu      sync.Mutex
	answers map[string]http.Handler
	bodies  map[string][]string // what came to each URL
}

// receive makes a receiver with the secret answer at the URL.
func (p *poster) receive(t *testing.T, url string, secret webhook.Secret) {
	t.Helper()
	r, err := webhook.NewReceiver(webhook.ReceiverConfig{
		Secrets: []webhook.Secret{secret},
		Store:   webhook.StoreFunc(func(context.Context, webhook.Delivery) error { return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.answer(url, r)
}

func (p *poster) answer(url string, h http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[url] = h
}

func (p *poster) status(url string, code int) {
	p.answer(url, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
}

func (p *poster) got(url string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.bodies[url]...)
}

// Post implements subscription.Poster.
func (p *poster) Post(ctx context.Context, t *subscription.Target, id string, body []byte) (int, []byte, error) {
	p.mu.Lock()
	h := p.answers[t.URL]
	if p.bodies == nil {
		p.bodies = map[string][]string{}
	}
	p.bodies[t.URL] = append(p.bodies[t.URL], string(body))
	p.mu.Unlock()
	if h == nil {
		return 0, nil, fmt.Errorf("no connection: nobody is there")
	}
	now := time.Now()
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(body))
	req.Header.Set("content-type", "application/json")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("webhook-signature", t.Signer.Sign(id, now, body))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code, w.Body.Bytes(), nil
}

// answerAfter is a receiver that takes its time.
func answerAfter(t *testing.T, wait time.Duration, secret webhook.Secret) http.Handler {
	t.Helper()
	r, err := webhook.NewReceiver(webhook.ReceiverConfig{
		Secrets: []webhook.Secret{secret},
		Store:   webhook.StoreFunc(func(context.Context, webhook.Delivery) error { return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		time.Sleep(wait)
		r.ServeHTTP(w, req)
	})
}
