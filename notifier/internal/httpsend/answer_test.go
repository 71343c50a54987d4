package httpsend

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/egress"
)

// FuzzAnswer gives the sender whatever a receiver could answer: it ends in time, with an outcome, and keeps nothing that does
// not print.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 503 X\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nKeep-Alive: timeout=5\r\n\r\n", "HTTP/1.0 204\r\n\r\n", "\x16\x03\x01", "HTTP/1.1 101 X\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	sender := New(Config{Guard: &egress.Guard{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}})
	var answer []byte
	sender.connect = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			if req, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
				_ = req.Body.Close()
				_, _ = theirs.Write(answer)
			}
		}()
		return ours, nil
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		answer = b
		began := time.Now()
		a := sender.Send(t.Context(), syntheticRequest(t, "http://127.0.0.1:8080/"))
		switch {
		case time.Since(began) > 5*time.Second:
			t.Fatalf("it took %s", time.Since(began))
		case a.Outcome == "" || (a.Outcome == delivery.OutcomeDelivered) != (a.StatusCode >= 200 && a.StatusCode <= 299) || a.RetryAfter < 0 || a.RetryAfter > delivery.MaxRetryAfter:
			t.Fatalf("%+v", a)
		}
		for _, s := range []string{a.Snippet, a.Error} {
			if len(s) > maxSnippet || !utf8.ValidString(s) || strings.ContainsAny(s, "\r\n\x00\x1b\u202e") {
				t.Fatalf("%+v", a)
			}
		}
		sender.endpoints.sweep(time.Now().Add(time.Hour)) // what is kept answers to nothing more
	})
}
