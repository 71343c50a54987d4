// Package mockbank is a bank that does as it is told: it checks and records every webhook, and answers what the test says.
package mockbank

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hirewire.dev/webhook"
)

// Request is one POST as it arrived.
type Request struct {
	At        time.Time
	Path      string
	ID        string
	Timestamp string
	Signature string
	Body      [sha256.Size]byte
	// Type, Employee and Version are what the body says.
	Type, Employee string
	Version        int
	// Valid says that the signature was right, by a secret that the bank trusts at the time.
	Valid bool
	// SignedBy are the trusted secrets that the message is signed with, by their place in the list of Trust.
	SignedBy []int
	// Nth is how many with this id came to this path before, and this one.
	Nth int
	// Status is what was answered; 0 while it is not.
	Status int
}

// Answer is what a bank says to a POST.
type Answer struct {
	// Status is that of the answer; 0 is 200. With -1 the connection is closed without an answer.
	Status int
	Header http.Header
	Body   string
}

// Config says how a bank behaves. The zero value answers 200 to everything.
type Config struct {
	// Addr is where to listen; empty: a free port of 127.0.0.1.
	Addr string
	// Answer says what to answer. It may wait; ctx ends when the sender has hung up, or the bank closes.
	Answer func(ctx context.Context, r Request) Answer
	// Once closes each connection after one answer, so that the next message needs a new one.
	Once bool
}

// Bank is a running one.
type Bank struct {
	// URL is its base, HTTPS.
	URL    string
	Secret webhook.Secret

	answer func(context.Context, Request) Answer
	server *httptest.Server

	mu       sync.Mutex
	trusted  []webhook.Secret
	requests []Request
	nth      map[string]int
}

// Start runs a bank that answers with what answer returns, or with 200 if that is nil. It serves with the certificate in
// dir, the folder of a stack, whose services trust it.
func Start(t testing.TB, dir string, answer func(Request) int) *Bank {
	t.Helper()
	var cfg Config
	if answer != nil {
		cfg.Answer = func(_ context.Context, r Request) Answer { return Answer{Status: answer(r)} }
	}
	return Open(t, dir, cfg)
}

// Open runs a bank that behaves as cfg says, with the certificate in dir: tls.crt and tls.key.
func Open(t testing.TB, dir string, cfg Config) *Bank {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	b := &Bank{Secret: webhook.NewSecret(), answer: cfg.Answer, nth: map[string]int{}}
	b.trusted = []webhook.Secret{b.Secret}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		t.Fatal(err)
	}
	b.server = &httptest.Server{
		Listener: listener, Config: &http.Server{Handler: b, ErrorLog: log.New(io.Discard, "", 0)}, TLS: &tls.Config{Certificates: []tls.Certificate{pair}},
	}
	b.server.Config.SetKeepAlivesEnabled(!cfg.Once)
	b.server.StartTLS()
	t.Cleanup(func() {
		b.server.CloseClientConnections() // what waits in an answer is told
		b.server.Close()
	})
	b.URL = "https://" + listener.Addr().String()
	return b
}

// Trust replaces the secrets that the bank verifies with: the first is what it answers a challenge with.
func (b *Bank) Trust(secrets ...webhook.Secret) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trusted = append([]webhook.Secret(nil), secrets...)
}

// Requests are the webhooks so far, challenges left out.
func (b *Bank) Requests() []Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Request(nil), b.requests...)
}

// Count is how many there are.
func (b *Bank) Count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.requests)
}

// secrets are those that are trusted now.
func (b *Bank) secrets() []webhook.Secret {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trusted
}

// sign answers a challenge as the contract says, by nothing but the standard library.
func (b *Bank) sign(challenge string) string {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(b.secrets()[0].Reveal(), "whsec_"))
	if err != nil {
		panic(err) // the secret is one that the library made
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(challenge))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// message is what a bank reads of a body.
type message struct {
	Type string
	Data struct {
		Challenge string
		Employee  struct {
			ID      string
			Version int
		}
	}
}

func (b *Bank) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	var m message
	_ = json.Unmarshal(body, &m)
	if m.Type == "webhook.verification" {
		_ = json.NewEncoder(w).Encode(map[string]string{"challenge": m.Data.Challenge, "response": b.sign(m.Data.Challenge)})
		return
	}
	request, place := b.record(r, body, m)
	var answer Answer
	if b.answer != nil {
		answer = b.answer(r.Context(), request)
	}
	b.reply(w, answer, place)
}

func (b *Bank) record(r *http.Request, body []byte, m message) (request Request, place int) {
	request = Request{
		At: time.Now(), Path: r.URL.Path, ID: r.Header.Get("webhook-id"), Timestamp: r.Header.Get("webhook-timestamp"),
		Signature: r.Header.Get("webhook-signature"), Body: sha256.Sum256(body),
		Type: m.Type, Employee: m.Data.Employee.ID, Version: m.Data.Employee.Version,
	}
	for i, secret := range b.secrets() {
		if _, err := (&webhook.Verifier{Secrets: []webhook.Secret{secret}}).Verify(r.Header, body); err == nil {
			request.SignedBy = append(request.SignedBy, i)
		}
	}
	request.Valid = len(request.SignedBy) > 0
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nth[request.Path+" "+request.ID]++
	request.Nth = b.nth[request.Path+" "+request.ID]
	b.requests = append(b.requests, request)
	return request, len(b.requests) - 1
}

func (b *Bank) reply(w http.ResponseWriter, a Answer, place int) {
	if a.Status == 0 {
		a.Status = http.StatusOK
	}
	b.mu.Lock()
	b.requests[place].Status = a.Status
	b.mu.Unlock()
	if a.Status < 0 {
		panic(http.ErrAbortHandler)
	}
	for name, values := range a.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Body)
}
