package notifier_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"hirewire.dev/notifier"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/settings"
	"hirewire.dev/platform/sqldb/sqldbtest"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

// The keys of every notifier under test: one for each role, and two banks.
var keys = map[string]string{
	"admin":     "admin-key-for-the-tests-0001",
	"publisher": "publisher-key-for-tests-0002",
	"viewer":    "viewer-key-for-the-tests-003",
	"bank-a":    "bank-a-key-for-the-tests-004",
	"bank-b":    "bank-b-key-for-the-tests-005",
}

// forEachEngine runs the test once with the URL of a new database of each engine.
func forEachEngine(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, sqldbtest.SQLiteURL(t)) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, sqldbtest.PostgresURL(t)) })
}

// config is what a notifier on the database is set up with: as in production, but for loopback.
func config(t *testing.T, url string) notifier.Config {
	t.Helper()
	var cfg notifier.Config
	err := settings.Parse(&cfg, nil, settings.Lookup(func(name string) (string, bool) {
		v, ok := map[string]string{
			"NOTIFIER_HTTP_ADDR": "127.0.0.1:0", "NOTIFIER_GRPC_ADDR": "127.0.0.1:0", "NOTIFIER_DATABASE_URL": url,
			"NOTIFIER_ADMIN_KEY": keys["admin"], "NOTIFIER_MASTER_KEY": masterKey(1),
			"NOTIFIER_API_KEYS":    "pub:publisher:" + keys["publisher"] + ",viewer:viewer:" + keys["viewer"] + ",bank-a:bank:" + keys["bank-a"] + ",bank-b:bank:" + keys["bank-b"],
			"NOTIFIER_ALLOW_CIDRS": "127.0.0.0/8", "NOTIFIER_CA_FILE": testCA(t),
			"NOTIFIER_EGRESS_ADDRESSES": "203.0.113.7/32,2001:db8::/64",
		}[name]
		return v, ok
	}))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func masterKey(fill byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, 32))
}

// testCA is the file of the certificate that httptest's servers show.
func testCA(t *testing.T) string {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// running is a notifier at work.
type running struct {
	*notifier.Service
	stop func() error
	logs *syncBuffer
}

// start runs a notifier until the test ends, or stop.
func start(t *testing.T, cfg notifier.Config) *running {
	t.Helper()
	logs := &syncBuffer{}
	log := slog.New(slog.NewTextHandler(logs, nil))
	s, err := notifier.New(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r := &running{Service: s, logs: logs}
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			t.Logf("the notifier's log:\n%s", logs)
		}
	})
	return r
}

// syncBuffer collects logs.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// client calls a notifier with one key.
type client struct {
	notifierv1.SubscriptionServiceClient
	notifierv1.ApiKeyServiceClient
	notifierv1.AuditServiceClient
	notifierv1.EventServiceClient
	notifierv1.DeliveryServiceClient
	conn *grpc.ClientConn
	base string
	key  string
}

// as is a client with the key of that name.
func (r *running) as(t *testing.T, name string) *client { return r.withKey(t, keys[name]) }

func (r *running) withKey(t *testing.T, key string) *client {
	t.Helper()
	conn, err := serve.DialGRPC(serve.ClientConfig{Addr: r.GRPCAddr(), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{
		notifierv1.NewSubscriptionServiceClient(conn), notifierv1.NewApiKeyServiceClient(conn), notifierv1.NewAuditServiceClient(conn),
		notifierv1.NewEventServiceClient(conn), notifierv1.NewDeliveryServiceClient(conn), conn, "http://" + r.HTTPAddr(), key,
	}
}

// rest makes an HTTP call and gives the status and the JSON answer.
func (c *client) rest(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil && len(text) > 0 {
		t.Fatalf("%s %s answered %d %q", method, path, resp.StatusCode, text)
	}
	return resp.StatusCode, answer
}

// wantCode fails the test unless err has the code.
func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("%s: %v; want %s", what, err, want)
	}
}

// wantField fails the test unless err has the code and names the field.
func wantField(t *testing.T, what string, err error, want codes.Code, field string) {
	t.Helper()
	wantCode(t, what, err, want)
	if fieldOf(err) != field {
		t.Errorf("%s: it names %q, want %q", what, fieldOf(err), field)
	}
}

// bank is a receiver over TLS.
type bank struct {
	URL string
	// answer, when set, answers instead of the receiver.
	answer atomic.Pointer[http.HandlerFunc]
	*webhook.Receiver
	mu       sync.Mutex
	events   []webhook.Event
	refused  []webhook.Observation
	requests int
}

// newBank runs a receiver that trusts the secrets; without one, it holds one that nobody else has.
func newBank(t *testing.T, secrets ...webhook.Secret) *bank {
	t.Helper()
	if len(secrets) == 0 {
		secrets = append(secrets, webhook.NewSecret())
	}
	b := &bank{}
	receiver, err := webhook.NewReceiver(webhook.ReceiverConfig{
		Secrets: secrets,
		Store: webhook.StoreFunc(func(_ context.Context, d webhook.Delivery) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, d.Event)
			return nil
		}),
		Observe: func(_ context.Context, o webhook.Observation) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.requests++
			if o.Err != nil {
				b.refused = append(b.refused, o)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Receiver = receiver
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if other := b.answer.Load(); other != nil {
			(*other)(w, r)
			return
		}
		receiver.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	b.URL = server.URL + "/hook"
	return b
}

// answers makes the bank answer with a status instead, until it is called with 0.
func (b *bank) answers(status int) {
	if status == 0 {
		b.answer.Store(nil)
		return
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	b.answer.Store(&h)
}

func (b *bank) seen() []webhook.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]webhook.Event(nil), b.events...)
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, within time.Duration, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", within, what)
		case <-ticker.C:
		}
	}
}

// status reads a subscription's status.
func (c *client) status(t *testing.T, id string) notifierv1.Subscription_Status {
	t.Helper()
	s, err := c.GetSubscription(t.Context(), &notifierv1.GetSubscriptionRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	return s.GetStatus()
}

// subscribe makes a subscription of the bank and waits until it is active.
func (c *client) subscribe(t *testing.T, b *bank, edit func(*notifierv1.Subscription)) *notifierv1.Subscription {
	t.Helper()
	secret := webhook.NewSecret()
	if err := b.SetSecrets(secret); err != nil {
		t.Fatal(err)
	}
	in := &notifierv1.Subscription{Name: "of " + b.URL, Url: b.URL, Secret: secret.Reveal()}
	if edit != nil {
		edit(in)
	}
	s, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: in})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the subscription is active", 5*time.Second, func() bool {
		return c.status(t, s.GetId()) == notifierv1.Subscription_ACTIVE
	})
	return s
}

func allow(cidrs ...string) settings.CIDRs {
	var out settings.CIDRs
	for _, c := range cidrs {
		out = append(out, netip.MustParsePrefix(c))
	}
	return out
}

// postgres is the URL of a new PostgreSQL database, for what takes several replicas.
func postgres(t *testing.T) string {
	t.Helper()
	return sqldbtest.PostgresURL(t)
}

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

// b64 is the base64 of n bytes that are not all zero.
func b64(n int) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, n)) }

func validUTF8(s string) bool { return utf8.ValidString(s) }

func zero() *durationpb.Duration { return durationpb.New(0) }
