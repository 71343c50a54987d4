// Package mockbank is a bank that does as it is told: it checks and records every webhook, and answers what the test says.
package mockbank

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
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
	// Valid says that the signature was right.
	Valid bool
	// Nth is how many with this id came to this path before, and this one.
	Nth int
}

// Bank is a running one.
type Bank struct {
	// URL is its base, HTTPS.
	URL    string
	Secret webhook.Secret

	answer func(Request) int
	server *httptest.Server

	mu       sync.Mutex
	requests []Request
	nth      map[string]int
}

// Start runs a bank that answers with what answer returns, or with 200 if that is nil. It serves with the certificate in
// dir, the folder of a stack, whose services trust it.
func Start(t testing.TB, dir string, answer func(Request) int) *Bank {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	b := &Bank{Secret: webhook.NewSecret(), answer: answer, nth: map[string]int{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: b}, TLS: &tls.Config{Certificates: []tls.Certificate{pair}}}
	b.server.StartTLS()
	t.Cleanup(b.server.Close)
	b.URL = "https://" + listener.Addr().String()
	return b
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

// sign answers a challenge as the contract says, by nothing but the standard library.
func (b *Bank) sign(challenge string) string {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(b.Secret.Reveal(), "whsec_"))
	if err != nil {
		panic(err) // the secret is one that the library made
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(challenge))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func (b *Bank) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	var message struct {
		Type string
		Data struct{ Challenge string }
	}
	_ = json.Unmarshal(body, &message)
	if message.Type == "webhook.verification" {
		_ = json.NewEncoder(w).Encode(map[string]string{"challenge": message.Data.Challenge, "response": b.sign(message.Data.Challenge)})
		return
	}
	_, invalid := (&webhook.Verifier{Secrets: []webhook.Secret{b.Secret}}).Verify(r.Header, body)
	request := Request{
		At: time.Now(), Path: r.URL.Path, ID: r.Header.Get("webhook-id"), Timestamp: r.Header.Get("webhook-timestamp"),
		Signature: r.Header.Get("webhook-signature"), Body: sha256.Sum256(body), Valid: invalid == nil,
	}
	b.mu.Lock()
	b.nth[request.Path+" "+request.ID]++
	request.Nth = b.nth[request.Path+" "+request.ID]
	b.requests = append(b.requests, request)
	b.mu.Unlock()
	status := http.StatusOK
	if b.answer != nil {
		status = b.answer(request)
	}
	w.WriteHeader(status)
}
