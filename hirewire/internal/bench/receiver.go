package bench

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// receiver answers every webhook with 200 at once and notes when which event arrived. Each path /N is one subscription.
type receiver struct {
	server *http.Server
	base   string
	secret []byte // the HMAC key of every subscription
	ledger atomic.Pointer[ledger]
}

// ledger holds the arrivals of one run. It is made before the run, so that noting one is cheap.
type ledger struct {
	index      map[string]int
	arrivals   [][]atomic.Int64 // by subscription and event: unix nanoseconds, 0 while it has not arrived
	left       atomic.Int64
	duplicates atomic.Int64
	done       chan struct{}
}

func newLedger(ids []string, subscriptions int) *ledger {
	l := &ledger{index: make(map[string]int, len(ids)), arrivals: make([][]atomic.Int64, subscriptions), done: make(chan struct{})}
	for i, id := range ids {
		l.index[id] = i
	}
	for s := range l.arrivals {
		l.arrivals[s] = make([]atomic.Int64, len(ids))
	}
	l.left.Store(int64(len(ids) * subscriptions))
	if l.left.Load() == 0 {
		close(l.done)
	}
	return l
}

func (l *ledger) arrived(subscription int, id string, at time.Time) {
	i, known := l.index[id]
	if !known || subscription >= len(l.arrivals) {
		return
	}
	if !l.arrivals[subscription][i].CompareAndSwap(0, at.UnixNano()) {
		l.duplicates.Add(1)
		return
	}
	if l.left.Add(-1) == 0 {
		close(l.done)
	}
}

// startReceiver listens on loopback; with a certificate over TLS, else in plain text.
func startReceiver(ctx context.Context, certificate *tls.Certificate, secret []byte) (*receiver, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{base: "http://" + listener.Addr().String(), secret: secret}
	r.ledger.Store(newLedger(nil, 0))
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	if certificate != nil {
		r.base = "https://" + listener.Addr().String()
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12})
	}
	go func() { _ = r.server.Serve(listener) }()
	return r, nil
}

func (r *receiver) stop() { _ = r.server.Close() }

// url is the address of subscription n.
func (r *receiver) url(n int) string { return r.base + "/" + strconv.Itoa(n) }

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	now := time.Now()
	id := request.Header["Webhook-Id"]
	subscription, err := strconv.Atoi(strings.TrimPrefix(request.URL.Path, "/"))
	if len(id) != 1 || err != nil {
		http.Error(w, "not a webhook", http.StatusBadRequest)
		return
	}
	l := r.ledger.Load()
	if _, known := l.index[id[0]]; known {
		l.arrived(subscription, id[0], now)
		_, _ = io.Copy(io.Discard, request.Body)
		return
	}
	r.other(w, request)
}

// other answers the ownership challenge, and everything else with 200.
func (r *receiver) other(w http.ResponseWriter, request *http.Request) {
	var message struct {
		Type string
		Data struct{ Challenge string }
	}
	_ = json.NewDecoder(io.LimitReader(request.Body, 64<<10)).Decode(&message)
	if message.Type != "webhook.verification" {
		return
	}
	mac := hmac.New(sha256.New, r.secret)
	mac.Write([]byte(message.Data.Challenge))
	_ = json.NewEncoder(w).Encode(map[string]string{
		"challenge": message.Data.Challenge,
		"response":  "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)),
	})
}
