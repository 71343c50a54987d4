package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

// web is a running HTTP server.
type web struct {
	*serve.HTTP
	stop func() error // stops it and waits
	done chan struct{}
}

func startHTTP(t *testing.T, cfg serve.HTTPConfig) *web {
	t.Helper()
	cfg.Addr, cfg.Logger = "127.0.0.1:0", quiet
	h, err := serve.NewHTTP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &web{HTTP: h, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		err = h.Run(ctx)
	}()
	w.stop = func() error {
		cancel()
		<-w.done
		return err
	}
	t.Cleanup(func() { _ = w.stop() })
	return w
}

var echoBody = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
		return
	}
	_, _ = w.Write(b)
})

// exchange sends raw bytes and returns the first answer's status, and whether the connection was closed after it.
func exchange(t *testing.T, addr, raw string) (code int, header http.Header, closed bool) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	go func() { _, _ = io.WriteString(c, raw) }()
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, err = r.ReadByte()
	timeout, ok := errors.AsType[net.Error](err)
	return resp.StatusCode, resp.Header, err != nil && (!ok || !timeout.Timeout())
}

func TestHostileRequests(t *testing.T) {
	reached := atomic.Int32{}
	s := startHTTP(t, serve.HTTPConfig{MaxBody: 1000, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		echoBody(w, r)
	})})
	const host = "Host: a\r\n"
	for _, tt := range []struct {
		name, raw string
		code      int
		closed    bool
		reaches   bool
	}{
		{"a request", "GET / HTTP/1.1\r\n" + host + "\r\n", 200, false, true},
		{"a chunked one", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 200, true, true},
		{"CL and TE", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, true, false},
		{"TE and CL", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400, true, false},
		{"two lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, true, false},
		{"two equal lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, true, false},
		{"bare LF", "GET / HTTP/1.1\n" + host + "\r\n", 400, true, false},
		{"folded field", "GET / HTTP/1.1\r\n" + host + "A: b\r\n c\r\n\r\n", 400, true, false},
		{"NUL", "GET / HTTP/1.1\r\n" + host + "A: b\x00\r\n\r\n", 400, true, false},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400, true, false},
		{"unknown coding", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip\r\n\r\n", 501, true, false},
		{"a header line of 1 MiB", "GET / HTTP/1.1\r\n" + host + "A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", 431, true, false},
		{"20 KiB of header", "GET / HTTP/1.1\r\n" + host + strings.Repeat("A: "+strings.Repeat("a", 1000)+"\r\n", 21) + "\r\n", 431, true, false},
		{"1,000 fields", "GET / HTTP/1.1\r\n" + host + strings.Repeat("a:b\r\n", 1000) + "\r\n", 431, true, false},
		{"TRACE", "TRACE / HTTP/1.1\r\n" + host + "\r\n", 405, true, false},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\n" + host + "\r\n", 405, true, false},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 404, true, false},
		{"//v1", "GET //v1 HTTP/1.1\r\n" + host + "\r\n", 404, true, false},
		{"/v1/../", "GET /v1/../a HTTP/1.1\r\n" + host + "\r\n", 404, true, false},
		{"/v1/%2e%2e/", "GET /v1/%2e%2e/a HTTP/1.1\r\n" + host + "\r\n", 404, true, false},
		{"10 GiB declared", "POST / HTTP/1.1\r\n" + host + "Content-Length: 10737418240\r\n\r\n", 413, true, false},
		{"a long chunked body", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("64\r\n"+strings.Repeat("a", 100)+"\r\n", 5000), 413, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := reached.Load()
			code, header, closed := exchange(t, s.Addr(), tt.raw)
			if code != tt.code || closed != tt.closed || (reached.Load() > before) != tt.reaches {
				t.Errorf("status %d, closed %v, reached %v", code, closed, reached.Load() > before)
			}
			if code == 404 || code == 405 {
				if header.Get("Location") != "" || header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%v", header)
				}
			}
		})
	}
}

func TestSmuggledRequestIsNeverServed(t *testing.T) {
	var paths []string
	s := startHTTP(t, serve.HTTPConfig{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
	})})
	for _, raw := range []string{
		"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		if _, _, closed := exchange(t, s.Addr(), raw); !closed {
			t.Error("the connection stays open")
		}
	}
	_ = s.stop()
	for _, p := range paths {
		if p == "/smuggled" {
			t.Error("served")
		}
	}
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestOwnPaths(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "things_total"}))
	health := serve.NewHealth(quiet)
	health.Add("database", func(context.Context) error { return errors.New("dial 10.0.0.1: password=x") })
	s := startHTTP(t, serve.HTTPConfig{Handler: echoBody, Health: health, Metrics: reg})
	c := client(t)
	if code, body := get(t, c, s.URL()+"/healthz"); code != 200 || !strings.Contains(body, "alive") {
		t.Errorf("%d %s", code, body)
	}
	if code, body := get(t, c, s.URL()+"/readyz"); code != 503 || body != `{"status":"not ready","failing":["starting","database"]}`+"\n" {
		t.Errorf("%d %s", code, body)
	}
	if code, body := get(t, c, s.URL()+"/metrics"); code != 200 || !strings.Contains(body, "things_total 0") {
		t.Errorf("%d %s", code, body)
	}
	resp, err := c.Post(s.URL()+"/healthz", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 405 {
		t.Errorf("POST /healthz: %d", resp.StatusCode)
	}
}

// TestTime holds what takes real time, all at once.
func TestTime(t *testing.T) {
	files := newCA(t).issue(t, "localhost")
	plain := startHTTP(t, serve.HTTPConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			lasts(w, r)
			return
		}
		echoBody(w, r)
	})})
	secure := startHTTP(t, serve.HTTPConfig{Handler: echoBody, TLS: &files})
	rpc := startGRPC(t, serve.GRPCConfig{})
	var wg sync.WaitGroup
	for _, tt := range []struct {
		name, addr, first, rest string
		limit                   time.Duration
	}{
		{"headers", plain.Addr(), "GET / HTTP/1.1\r\n", "A: b\r\n", 5 * time.Second},
		{"headers of a second request", plain.Addr(), "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n", "A: b\r\n", 5 * time.Second},
		{"handshake", secure.Addr(), "\x16\x03\x01\x01\x00", "\x01", 5 * time.Second},
		{"gRPC preface", rpc.Addr(), "PRI", " ", 5 * time.Second},
		{"body", plain.Addr(), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", "a", 10 * time.Second},
	} {
		if testing.Short() && tt.limit > 5*time.Second {
			continue
		}
		wg.Go(func() {
			if took := drip(t, tt.addr, tt.first, tt.rest, tt.limit+2*time.Second); took > tt.limit {
				t.Errorf("%s: open for %v", tt.name, took)
			}
		})
	}
	if !testing.Short() {
		c := client(t)
		wg.Go(func() {
			if code, body := get(t, c, plain.URL()+"/stream"); code != 200 || body != "first\nlast\n" {
				t.Errorf("a stream: %d %q", code, body)
			}
		})
	}
	wg.Wait()
}

// lasts answers with a stream that is longer than any timeout of reading.
func lasts(w http.ResponseWriter, r *http.Request) {
	w = serve.Streaming(w)
	_, _ = io.WriteString(w, "first\n")
	_ = http.NewResponseController(w).Flush()
	select {
	case <-time.After(10500 * time.Millisecond):
		_, _ = io.WriteString(w, "last\n")
	case <-r.Context().Done():
		_, _ = io.WriteString(w, "cut off\n")
	}
}

// drip sends a byte each half second, and returns how long the connection stayed open, at most limit.
func drip(t *testing.T, addr, first, rest string, limit time.Duration) time.Duration {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return 0
	}
	began := time.Now()
	_, _ = io.WriteString(c, first)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			time.Sleep(500 * time.Millisecond)
			if _, err := c.Write([]byte{rest[i%len(rest)]}); err != nil {
				return
			}
		}
	}()
	_ = c.SetReadDeadline(began.Add(limit))
	_, _ = io.Copy(io.Discard, c)
	took := time.Since(began)
	_ = c.Close()
	<-stopped
	return took
}

func TestIdleConnectionsGiveWay(t *testing.T) {
	const limit, idle = 200, 1000
	s := startHTTP(t, serve.HTTPConfig{Handler: echoBody, MaxConns: limit})
	var held []net.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	for i := range idle {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		if i%2 == 0 { // half of them idle after a request, half before
			_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		}
	}
	c := client(t)
	for range 20 {
		began := time.Now()
		if code, body := get(t, c, s.URL()+"/"); code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v", took)
		}
	}
	open := func() (n int) {
		for _, c := range held {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := io.Copy(io.Discard, c); err != nil {
				if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
					n++
				}
			}
		}
		return n
	}
	for end := time.Now().Add(5 * time.Second); open() > limit; { // the last ones are being closed
		if time.Now().After(end) {
			t.Fatalf("%d connections are open", open())
		}
	}
}

func TestFiveThousandIdleConnections(t *testing.T) {
	s := startHTTP(t, serve.HTTPConfig{Handler: echoBody})
	var held []net.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	for range 5000 {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			sqldbtest.LeaveOut(t, fmt.Sprintf("5000 idle connections: there are no more than %d here: %v", len(held), err))
		}
		held = append(held, c)
	}
	c := client(t)
	for range 50 {
		began := time.Now()
		if code, body := get(t, c, s.URL()+"/"); code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v", took)
		}
	}
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := startHTTP(t, serve.HTTPConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "finished")
	})})
	silent, err := net.Dial("tcp", s.Addr()) // never sends anything; must not hold up the stop
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	answered := make(chan string, 1)
	c := client(t)
	go func() {
		_, body := get(t, c, s.URL()+"/")
		answered <- body
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	for { // until the listener is gone
		probe, err := net.Dial("tcp", s.Addr())
		if err != nil {
			break
		}
		_ = probe.Close()
		time.Sleep(time.Millisecond)
	}
	close(release)
	began := time.Now()
	if got := <-answered; got != "finished" {
		t.Errorf("got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the stop took %v more", took)
	}
}

func TestStopCutsOffWhatHangs(t *testing.T) {
	entered := make(chan struct{})
	s := startHTTP(t, serve.HTTPConfig{StopTimeout: 50 * time.Millisecond, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})})
	c := client(t)
	go func() { _, _ = get(t, c, s.URL()+"/") }()
	<-entered
	began := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestStreamsEndWithTheServer(t *testing.T) {
	entered := make(chan struct{})
	s := startHTTP(t, serve.HTTPConfig{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = serve.Streaming(w)
		ctx, cancel := serve.UntilStop(r.Context())
		defer cancel()
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		close(entered)
		<-ctx.Done()
		fmt.Fprintln(w, context.Cause(ctx))
	})})
	got := make(chan string, 1)
	c := client(t)
	go func() {
		_, body := get(t, c, s.URL()+"/")
		got <- body
	}()
	<-entered
	began := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the stop took %v", took)
	}
	if body := <-got; !strings.HasPrefix(body, "first\n") || !strings.Contains(body, "Unavailable") {
		t.Errorf("%q", body)
	}
}

func TestTLSRefusesWhatIsNotTLS(t *testing.T) {
	ca := newCA(t)
	files := ca.issue(t, "localhost")
	s := startHTTP(t, serve.HTTPConfig{Handler: echoBody, TLS: &files, HSTS: true})
	if code, _, closed := exchange(t, s.Addr(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); code != 400 || !closed {
		t.Errorf("plaintext: %d", code)
	}
	for name, conf := range map[string]*tls.Config{
		"TLS 1.1":    {RootCAs: ca.pool, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, ServerName: "localhost"},
		"HTTP/2":     {RootCAs: ca.pool, NextProtos: []string{"h2"}, ServerName: "localhost"},
		"unknown CA": {ServerName: "localhost"},
	} {
		c, err := tls.Dial("tcp", s.Addr(), conf)
		if err == nil {
			_ = c.Close()
			t.Errorf("%s: a connection", name)
		}
	}
	c := client(t)
	c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: ca.pool, ServerName: "localhost"}
	resp, err := c.Post(s.URL(), "text/plain", bytes.NewReader([]byte("hello")))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "hello" || resp.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s %v", b, resp.Header)
	}
}
