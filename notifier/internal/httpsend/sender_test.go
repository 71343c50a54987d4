package httpsend_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/httpsend"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/webhook"
)

// What is on the wire, whole.
func TestRequestOnTheWire(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	before := time.Now().Unix()
	req := request(t, server.URL+"/hook/ü?a=b&c=%20")
	req.Target.URL = server.URL + "/hook/%C3%BC?a=b&c=%20"
	req.Attempt = 3
	a := newSender(t, httpsend.Config{}).Send(t.Context(), req)
	if a.Outcome != delivery.OutcomeDelivered || a.StatusCode != 200 || a.Number != 3 || a.Error != "" || a.Duration <= 0 || a.StartedAt.IsZero() {
		t.Fatalf("%+v", a)
	}
	if string(body) != payload {
		t.Errorf("body %s", body)
	}
	if got.Method != "POST" || got.RequestURI != "/hook/%C3%BC?a=b&c=%20" || "http://"+got.Host != server.URL || got.Proto != "HTTP/1.1" {
		t.Errorf("%s %s %s %s", got.Method, got.RequestURI, got.Host, got.Proto)
	}
	stamp, signature := got.Header.Get("Webhook-Timestamp"), got.Header.Get("Webhook-Signature")
	got.Header.Del("Webhook-Timestamp")
	got.Header.Del("Webhook-Signature")
	want := http.Header{
		"Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(len(payload))}, "User-Agent": {"Hirewire/1.2.3"},
		"Webhook-Id": {"evt_1"}, "Webhook-Attempt": {"3"}, "Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
	if diff := cmp.Diff(want, got.Header); diff != "" {
		t.Error(diff)
	}
	var unix int64
	if _, err := fmt.Sscan(stamp, &unix); err != nil || unix < before || unix > time.Now().Unix() {
		t.Errorf("timestamp %s", stamp)
	}
	signer, _ := webhook.NewSigner(secret)
	if signature != signer.Sign("evt_1", time.Unix(unix, 0), []byte(payload)) {
		t.Errorf("signature %s", signature)
	}
}

func TestFormatsHaveTheirContentType(t *testing.T) {
	t.Parallel()
	for format, contentType := range map[subscription.Format]string{
		subscription.CloudEvents: "application/cloudevents+json", subscription.Form: "application/x-www-form-urlencoded", subscription.XML: "application/xml",
	} {
		var got http.Header
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
		req := request(t, server.URL)
		req.Target.Format = format
		if a := newSender(t, httpsend.Config{}).Send(t.Context(), req); a.Outcome != delivery.OutcomeDelivered {
			t.Errorf("%s: %+v", format, a)
		}
		if got.Get("Content-Type") != contentType {
			t.Errorf("%s: content type %s", format, got.Get("Content-Type"))
		}
		server.Close()
	}
}

// F33-F40: each answer that a receiver could give, byte for byte.
func TestAnswers(t *testing.T) {
	t.Parallel()
	sender := newSender(t, httpsend.Config{})
	long := strings.Repeat("x", 70_000)
	for name, tt := range map[string]struct {
		answer  string
		outcome delivery.Outcome
		status  int
		snippet string
		after   time.Duration
	}{
		"200":                         {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", delivery.OutcomeDelivered, 200, "ok", 0},
		"200 without reason":          {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeDelivered, 200, "", 0},
		"204":                         {"HTTP/1.1 204 No Content\r\n\r\n", delivery.OutcomeDelivered, 204, "", 0},
		"206":                         {"HTTP/1.1 206 P\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeDelivered, 206, "", 0},
		"299":                         {"HTTP/1.1 299 X\r\n\r\n", delivery.OutcomeDelivered, 299, "", 0},
		"HTTP/1.0":                    {"HTTP/1.0 200 OK\r\n\r\nold", delivery.OutcomeDelivered, 200, "old", 0},
		"chunked":                     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", delivery.OutcomeDelivered, 200, "ok", 0},
		"chunked without end":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", delivery.OutcomeDelivered, 200, "ok", 0},
		"truncated":                   {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789", delivery.OutcomeDelivered, 200, "0123456789", 0},
		"truncated 500":               {"HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\n0123456789", delivery.OutcomeRejected, 500, "0123456789", 0},
		"300":                         {"HTTP/1.1 300 X\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeRejected, 300, "", 0},
		"304":                         {"HTTP/1.1 304 X\r\n\r\n", delivery.OutcomeRejected, 304, "", 0},
		"400":                         {"HTTP/1.1 400 X\r\nContent-Length: 3\r\n\r\nbad", delivery.OutcomeRejected, 400, "bad", 0},
		"401":                         {"HTTP/1.1 401 X\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeRejected, 401, "", 0},
		"404":                         {"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeRejected, 404, "", 0},
		"410":                         {"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeGone, 410, "", 0},
		"413":                         {"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeRejected, 413, "", 0},
		"418":                         {"HTTP/1.1 418 X\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeRejected, 418, "", 0},
		"429 with seconds":            {"HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeThrottled, 429, "", 7 * time.Second},
		"503 with nonsense":           {"HTTP/1.1 503 X\r\nRetry-After: abc\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeThrottled, 503, "", 0},
		"503 with 1e12 seconds":       {"HTTP/1.1 503 X\r\nRetry-After: 1000000000000\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeThrottled, 503, "", 24 * time.Hour},
		"502":                         {"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeThrottled, 502, "", 0},
		"504":                         {"HTTP/1.1 504 X\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeThrottled, 504, "", 0},
		"600":                         {"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeRejected, 600, "", 0},
		"999":                         {"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeRejected, 999, "", 0},
		"099":                         {"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeProtocol, 0, "", 0},
		"-20":                         {"HTTP/1.1 -20 X\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeProtocol, 0, "", 0},
		"2000":                        {"HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeProtocol, 0, "", 0},
		"100 then 200":                {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeDelivered, 200, "", 0},
		"103 then 500":                {"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeRejected, 500, "", 0},
		"100 for ever":                {strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 10_000), delivery.OutcomeProtocol, 0, "", 0},
		"101":                         {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxxx", delivery.OutcomeRejected, 101, "", 0},
		"HTTP/0.9":                    {"<html>ok</html>\n", delivery.OutcomeProtocol, 0, "", 0},
		"no status line":              {"\r\n\r\n", delivery.OutcomeProtocol, 0, "", 0},
		"HTTP/2 preface":              {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", delivery.OutcomeProtocol, 0, "", 0},
		"HTTP/2.0 in the status line": {"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", delivery.OutcomeProtocol, 0, "", 0},
		"SSH":                         {"SSH-2.0-OpenSSH_9.9\r\n", delivery.OutcomeProtocol, 0, "", 0},
		"binary":                      {"\x00\x01\x02\xff\n\n", delivery.OutcomeProtocol, 0, "", 0},
		"two lengths":                 {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", delivery.OutcomeProtocol, 0, "", 0},
		"negative length":             {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", delivery.OutcomeProtocol, 0, "", 0},
		"unknown transfer encoding":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: rot13\r\n\r\n", delivery.OutcomeProtocol, 0, "", 0},
		"bad chunk":                   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", delivery.OutcomeDelivered, 200, "", 0},
		"headers cut off":             {"HTTP/1.1 200 OK\r\nContent-Le", delivery.OutcomeConnection, 0, "", 0},
		"status line cut off":         {"HTTP/1.1 2", delivery.OutcomeConnection, 0, "", 0},
		"nothing":                     {"", delivery.OutcomeConnection, 0, "", 0},
		"one header of 1 MiB":         {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", delivery.OutcomeProtocol, 0, "", 0},
		"100,000 headers":             {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 100_000) + "\r\n", delivery.OutcomeProtocol, 0, "", 0},
		"a body beyond the limit":     {"HTTP/1.1 500 X\r\nContent-Length: 70000\r\n\r\n" + long, delivery.OutcomeRejected, 500, long[:512], 0},
		"control characters":          {"HTTP/1.1 500 X\r\nContent-Length: 24\r\n\r\n\x1b[31mred\x00\r\n\xff\xfe\u202eé<&>\t\n", delivery.OutcomeRejected, 500, "[31mred  é<&>", 0},
	} {
		url, _ := rawServer(t, answering(tt.answer))
		var a delivery.Attempt
		bounded(t, 5*time.Second, func() { a = sender.Send(t.Context(), request(t, url)) })
		if a.Outcome != tt.outcome || a.StatusCode != tt.status || a.Snippet != tt.snippet || a.RetryAfter != tt.after {
			t.Errorf("%s: %s %d %q %s (%s), want %s %d %q %s", name, a.Outcome, a.StatusCode, a.Snippet, a.RetryAfter, a.Error, tt.outcome, tt.status, tt.snippet, tt.after)
		}
		if (a.Error == "") != (a.Outcome == delivery.OutcomeDelivered) {
			t.Errorf("%s: %s with the error %q", name, a.Outcome, a.Error)
		}
	}
}

// F37, CWE-601: a redirect is an answer, not an order.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var canary atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { canary.Add(1) }))
	defer other.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		var hits atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hits.Add(1)
			for _, to := range []string{other.URL, "http://169.254.169.254/", "/again", r.URL.Path} {
				w.Header().Add("Location", to)
			}
			w.WriteHeader(code)
		}))
		a := newSender(t, httpsend.Config{}).Send(t.Context(), request(t, server.URL+"/x"))
		if a.Outcome != delivery.OutcomeRejected || a.StatusCode != code || hits.Load() != 1 || canary.Load() != 0 {
			t.Errorf("%d: %+v, %d hits, %d at the other place", code, a, hits.Load(), canary.Load())
		}
		server.Close()
	}
}

// F33: a reset is a failure wherever it comes, and a request is not sent twice.
func TestResets(t *testing.T) {
	t.Parallel()
	reset := func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }
	for name, handle := range map[string]func(net.Conn){
		"before":     reset,
		"in request": func(c net.Conn) { _, _ = c.Read(make([]byte, 10)); reset(c) },
		"after":      func(c net.Conn) { _ = readRequest(bufio.NewReader(c)); reset(c) },
		"in the answer": func(c net.Conn) {
			_ = readRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200")
			time.Sleep(20 * time.Millisecond)
			reset(c)
		},
	} {
		url, conns := rawServer(t, handle)
		a := newSender(t, httpsend.Config{}).Send(t.Context(), request(t, url))
		if a.Outcome != delivery.OutcomeConnection || a.StatusCode != 0 || a.Error == "" {
			t.Errorf("%s: %+v", name, a)
		}
		if conns.Load() != 1 {
			t.Errorf("%s: %d connections", name, conns.Load())
		}
	}
	url, _ := rawServer(t, func(c net.Conn) {
		_ = readRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		time.Sleep(20 * time.Millisecond)
		reset(c)
	})
	if a := newSender(t, httpsend.Config{}).Send(t.Context(), request(t, url)); a.Outcome != delivery.OutcomeDelivered {
		t.Errorf("a reset in the body of a 200: %+v", a)
	}
}

// A receiver that refuses a large body before it has read it is heard.
func TestAnEarlyAnswerIsHeard(t *testing.T) {
	t.Parallel()
	url, _ := rawServer(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	req := request(t, url)
	req.Event.Payload = bytes.Repeat([]byte(" "), 8<<20)
	if a := newSender(t, httpsend.Config{}).Send(t.Context(), req); a.StatusCode != 413 {
		t.Errorf("%+v", a)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]int64{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":                                 1,
		"HTTP/1.1 204 No Content\r\n\r\n":                                                1,
		"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n":       1,
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=30, max=9\r\n\r\n":  1,
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=0\r\n\r\n":          5,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok":            5,
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok":                                 5,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n":          5, // an answer to nothing
		"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("x", 70_000): 5,
		"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n":  5,
	} {
		url, conns := rawServer(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			for readRequest(r) == nil {
				if _, err := io.WriteString(c, answer); err != nil {
					return
				}
			}
		})
		sender := newSender(t, httpsend.Config{})
		for range 5 {
			if a := sender.Send(t.Context(), request(t, url)); a.StatusCode == 0 {
				t.Fatalf("%q: %+v", answer, a)
			}
		}
		if got := conns.Load(); got != want {
			t.Errorf("%.60q: %d connections, want %d", answer, got, want)
		}
	}
}

// A receiver that hangs up between requests costs a connection, and no attempt.
func TestAConnectionClosedWhileIdleIsNotUsed(t *testing.T) {
	t.Parallel()
	closedNow := make(chan struct{}, 10)
	url, conns := rawServer(t, func(c net.Conn) {
		_ = readRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		c.Close()
		closedNow <- struct{}{}
	})
	sender := newSender(t, httpsend.Config{})
	for range 5 {
		if a := sender.Send(t.Context(), request(t, url)); a.Outcome != delivery.OutcomeDelivered {
			t.Errorf("%+v", a)
		}
		<-closedNow
		time.Sleep(5 * time.Millisecond) // for the FIN to arrive
	}
	if conns.Load() != 5 {
		t.Errorf("%d connections", conns.Load())
	}
}

func TestCancelBreaksAnAttemptOff(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	url, _ := rawServer(t, func(c net.Conn) {
		_ = readRequest(bufio.NewReader(c))
		close(arrived)
		_, _ = io.Copy(io.Discard, c)
	})
	sender := newSender(t, httpsend.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	bounded(t, 2*time.Second, func() {
		if a := sender.Send(ctx, request(t, url)); a.Outcome != delivery.OutcomeTimeout {
			t.Errorf("%+v", a)
		}
	})
}

// F40: memory stays where it is, whatever is sent back.
func TestAnInfiniteBodyIsNotRead(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	url, _ := rawServer(t, func(c net.Conn) {
		_ = readRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
		block := bytes.Repeat([]byte{0x1f, 0x8b, 0, 0}, 16<<10)
		for {
			n, err := c.Write(block)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a := newSender(t, httpsend.Config{}).Send(t.Context(), request(t, url))
	runtime.ReadMemStats(&after)
	if a.Outcome != delivery.OutcomeDelivered || len(a.Snippet) > 512 {
		t.Errorf("%+v", a)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
}

func TestPost(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(bytes.Repeat(body, 2))
	}))
	defer server.Close()
	sender := newSender(t, httpsend.Config{})
	body := bytes.Repeat([]byte("b"), 1500)
	status, answer, err := sender.Post(t.Context(), target(t, server.URL), "evt_2", body)
	if status != 201 || !bytes.Equal(answer, bytes.Repeat(body, 2)) || err != nil {
		t.Errorf("%d, %d bytes, %v", status, len(answer), err)
	}
	_, answer, err = sender.Post(t.Context(), target(t, server.URL), "evt_2", bytes.Repeat([]byte("b"), 1<<20))
	if len(answer) != httpsend.MaxBody || err != nil {
		t.Errorf("%d bytes, %v", len(answer), err)
	}
	if _, _, err = sender.Post(t.Context(), target(t, "https://10.0.0.1/?key=PLANTED"), "evt_2", body); err == nil || strings.Contains(err.Error(), "PLANTED") {
		t.Errorf("%v", err)
	}
}

// CWE-93: nothing of an event becomes a header of its own.
func TestHeadersCannotBeInjected(t *testing.T) {
	t.Parallel()
	var got http.Header
	var hits atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hits.Add(1); got = r.Header }))
	defer server.Close()
	sender := newSender(t, httpsend.Config{})
	req := request(t, server.URL)
	req.Event.Traceparent = "00\r\nx-injected: 1"
	if a := sender.Send(t.Context(), req); a.Outcome != delivery.OutcomeDelivered || got.Get("X-Injected") != "" || got.Get("Traceparent") != "" {
		t.Errorf("%+v %v", a, got)
	}
	req.Event.ID = "evt\r\nx: 1"
	if a := sender.Send(t.Context(), req); a.Outcome != delivery.OutcomeProtocol || hits.Load() != 1 {
		t.Errorf("%+v", a)
	}
}

// 64 at a time, over few connections, and each answer belongs to its request.
func TestConcurrentSends(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Webhook-Id"))
	}))
	defer server.Close()
	sender := newSender(t, httpsend.Config{})
	var wg sync.WaitGroup
	for worker := range 64 {
		wg.Go(func() {
			for i := range 50 {
				req := request(t, server.URL)
				req.Event.ID = fmt.Sprintf("evt_%d_%d", worker, i)
				if a := sender.Send(t.Context(), req); a.Snippet != req.Event.ID {
					t.Errorf("%s: %+v", req.Event.ID, a)
				}
			}
		})
	}
	wg.Wait()
}

// CWE-209: what is stored of a failure holds no secret of the URL.
func TestErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	sender := newSender(t, httpsend.Config{})
	url, _ := rawServer(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) })
	for _, raw := range []string{
		url + "?key=PLANTED", "https://10.0.0.1/PLANTED?key=PLANTED", "https://u:PLANTED@h.test/", "http://127.0.0.1:1/?PLANTED",
		"https://nohost.invalid/?PLANTED", strings.Replace(url, "http", "https", 1) + "?PLANTED",
	} {
		if a := sender.Send(t.Context(), request(t, raw)); a.Error == "" || strings.Contains(a.Error, "PLANTED") {
			t.Errorf("%s: %+v", raw, a)
		}
	}
}
