package banksvc

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/settings"
	"hirewire.dev/platform/sqldb/sqldbtest"
	"hirewire.dev/platform/telemetry"
	bankv1 "hirewire.dev/proto/bank/v1"
	"hirewire.dev/webhook"
)

const (
	operatorKey = "operator-key-0123456789abcdef"
	viewerKey   = "viewer-key-0123456789abcdefgh"
)

// engines runs the test on each engine; url makes a new, empty database.
func engines(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, sqldbtest.SQLiteURL(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, sqldbtest.PostgresURL(t)) })
}

// bank is a running bank and a way to talk to it as the notifier and as an operator.
type bank struct {
	*Service
	api    bankv1.BankServiceClient
	secret webhook.Secret
	client *http.Client
	stop   func()
}

// config is a bank's at url; its neighbours are not there until change names some.
func config(url string, secret webhook.Secret) Config {
	return Config{
		Name: "Test Bank", Country: "DE", HTTPAddr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0",
		TLSCert: settings.File(certs().cert), TLSKey: settings.File(certs().key),
		DatabaseURL:  settings.DatabaseURL(url),
		NotifierAddr: "127.0.0.1:1", NotifierKey: settings.NewSecret("notifier-key-0123456789abcdef"),
		EmployeeAddr: "127.0.0.1:1", EmployeeKey: settings.NewSecret("employee-key-0123456789abcdef"),
		WebhookSecrets: WebhookSecrets{secret}, Payload: "FULL", ReconcileInterval: time.Hour,
		APIKeys: settings.APIKeys{
			{Name: "op", Role: "operator", Key: telemetry.Secret(operatorKey)},
			{Name: "view", Role: "viewer", Key: telemetry.Secret(viewerKey)},
		},
	}
}

func start(t *testing.T, url string, change func(*Config)) *bank {
	t.Helper()
	cfg := config(url, webhook.NewSecret())
	if change != nil {
		change(&cfg)
	}
	b := startUnready(t, cfg)
	await(t, "readiness", func() bool { return b.get(t, "/readyz", "").status == http.StatusOK })
	return b
}

// startUnready does not wait until the bank is ready.
func startUnready(t *testing.T, cfg Config) *bank {
	t.Helper()
	log := &testLog{t: t}
	s, err := New(t.Context(), cfg, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	b := &bank{Service: s, client: newClient()}
	if len(cfg.WebhookSecrets) > 0 {
		b.secret = cfg.WebhookSecrets[0]
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		b.client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("bank stopped: %v", err)
		}
		log.end()
	})
	t.Cleanup(b.stop)
	b.api = b.dial(t, operatorKey)
	return b
}

// testLog writes a bank's log into the test's, until the bank has stopped.
type testLog struct {
	mu    sync.Mutex
	t     *testing.T
	ended bool
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func (l *testLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

func newClient() *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		TLSClientConfig: certs().client(), MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64,
	}}
}

func (b *bank) dial(t *testing.T, key string) bankv1.BankServiceClient {
	t.Helper()
	conn, err := serve.DialGRPC(serve.ClientConfig{Addr: b.GRPCAddr(), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return bankv1.NewBankServiceClient(conn)
}

// await waits until cond holds.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within a minute", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (b *bank) do(t *testing.T, req *http.Request) answer {
	t.Helper()
	res, err := b.client.Do(req)
	if err != nil {
		t.Errorf("%s %s: %v", req.Method, req.URL.Path, err)
		return answer{}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func (b *bank) get(t *testing.T, path, key string) answer {
	t.Helper()
	return b.do(t, b.request(t, http.MethodGet, path, key, ""))
}

func (b *bank) request(t *testing.T, method, path, key, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+b.HTTPAddr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

// signed is a webhook as the notifier sends it.
func (b *bank) signed(t *testing.T, eventID string, body []byte) *http.Request {
	t.Helper()
	signer, err := webhook.NewSigner(b.secret)
	if err != nil {
		t.Fatal(err)
	}
	req := b.request(t, http.MethodPost, WebhookPath, "", string(body))
	at := time.Now()
	req.Header.Set("Webhook-Id", eventID)
	req.Header.Set("Webhook-Timestamp", fmt.Sprint(at.Unix()))
	req.Header.Set("Webhook-Signature", signer.Sign(eventID, at, body))
	return req
}

func (b *bank) send(t *testing.T, e fact) answer {
	t.Helper()
	return b.do(t, b.signed(t, e.id, e.body()))
}

func (b *bank) mustSend(t *testing.T, events ...fact) {
	t.Helper()
	for _, e := range events {
		if a := b.send(t, e); a.status != http.StatusOK {
			t.Fatalf("event %s: %d %s", e.id, a.status, a.body)
		}
	}
}

// sendAll sends from many connections at once, and again what was refused for the moment.
func (b *bank) sendAll(t *testing.T, workers int, events []fact) {
	t.Helper()
	next := make(chan fact)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for e := range next {
				a := b.send(t, e)
				for try := 0; a.status == http.StatusServiceUnavailable && try < 10; try++ { // as a sender does
					a = b.send(t, e)
				}
				if a.status != http.StatusOK {
					t.Errorf("event %s: %d %s", e.id, a.status, a.body)
				}
			}
		})
	}
	for _, e := range events {
		next <- e
	}
	close(next)
	wg.Wait()
}

// fact is an event about an employee.
type fact struct {
	id, typ  string
	employee account.Employee
	thin     bool
}

func (f fact) body() []byte {
	e := map[string]any{"id": f.employee.ID, "version": f.employee.Version}
	if !f.thin {
		given, family, _ := strings.Cut(f.employee.HolderName, " ")
		e["given_name"], e["family_name"], e["currency"], e["status"] = given, family, f.employee.Currency, "ACTIVE"
		if f.employee.Terminated {
			e["status"] = "TERMINATED"
		}
	}
	body, err := json.Marshal(map[string]any{
		"id": f.id, "type": f.typ, "timestamp": "2026-11-20T09:00:00.123456Z", "data": map[string]any{"employee": e},
	})
	if err != nil {
		panic(err)
	}
	return body
}

func person(name string) account.Employee {
	return account.Employee{ID: id.New("emp"), HolderName: name, Currency: "EUR", Version: 1}
}

func created(e account.Employee) fact {
	return fact{id: id.New("evt"), typ: "employee.created", employee: e}
}

// next is the employee's next version, and the event that tells of it.
func next(e account.Employee, change func(*account.Employee)) (account.Employee, fact) {
	e.Version++
	change(&e)
	typ := "employee.updated"
	if e.Terminated {
		typ = "employee.terminated"
	}
	return e, fact{id: id.New("evt"), typ: typ, employee: e}
}

// accounts are all the bank's accounts, by employee. It fails if an employee has two.
func (b *bank) accounts(t *testing.T) map[string]*bankv1.Account {
	t.Helper()
	all := map[string]*bankv1.Account{}
	req := &bankv1.ListAccountsRequest{PageSize: 1000}
	for {
		res, err := b.api.ListAccounts(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range res.Accounts {
			if all[a.EmployeeId] != nil {
				t.Fatalf("employee %s has two accounts", a.EmployeeId)
			}
			all[a.EmployeeId] = a
		}
		if req.PageToken = res.NextPageToken; req.PageToken == "" {
			return all
		}
	}
}

// settled waits until no event is open.
func (b *bank) settled(t *testing.T) {
	t.Helper()
	await(t, "empty inbox", func() bool {
		for _, status := range []bankv1.InboxEvent_Status{bankv1.InboxEvent_PENDING, bankv1.InboxEvent_FAILED} {
			res, err := b.api.ListInboxEvents(t.Context(), &bankv1.ListInboxEventsRequest{Status: status, PageSize: 1})
			if err != nil {
				t.Fatal(err)
			}
			if len(res.InboxEvents) > 0 {
				return false
			}
		}
		return true
	})
}

func (b *bank) event(t *testing.T, id string) *bankv1.InboxEvent {
	t.Helper()
	e, err := b.api.GetInboxEvent(t.Context(), &bankv1.GetInboxEventRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// serveGRPC serves a stand-in for a neighbour.
func serveGRPC(t *testing.T, register func(*grpc.Server)) settings.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return settings.Addr(l.Addr().String())
}
