package httpsend_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/egress"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/httpsend"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/webhook"
)

const payload = `{"id":"evt_1","type":"employee.created","timestamp":"2026-11-20T09:00:00.000000Z","data":{"employee":{"id":"emp_1","version":1}}}`

func loopback() *egress.Guard {
	return &egress.Guard{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
}

func newSender(tb testing.TB, cfg httpsend.Config) *httpsend.Sender {
	tb.Helper()
	if cfg.Guard == nil {
		cfg.Guard = loopback()
	}
	cfg.Version = "1.2.3"
	s := httpsend.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Run(ctx)
	}()
	tb.Cleanup(func() { cancel(); <-ended })
	return s
}

var secret = func() webhook.Secret {
	s, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		panic(err)
	}
	return s
}()

func target(tb testing.TB, url string) *subscription.Target {
	tb.Helper()
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		tb.Fatal(err)
	}
	return &subscription.Target{Subscription: subscription.Subscription{ID: "sub_1", URL: url, Payload: subscription.Full, Format: subscription.Standard}, Signer: signer}
}

func request(tb testing.TB, url string) delivery.Request {
	tb.Helper()
	return delivery.Request{Target: target(tb, url), DeliveryID: "dlv_1", Attempt: 1, Event: &event.Event{
		ID: "evt_1", Type: "employee.created", EmployeeID: "emp_1", Version: 1, Payload: []byte(payload),
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}}
}

// rawServer gives each connection to handle, and counts them.
func rawServer(tb testing.TB, handle func(net.Conn)) (url string, conns *atomic.Int64) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	conns = new(atomic.Int64)
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			stop := context.AfterFunc(ctx, func() { c.Close() })
			go func() {
				defer stop()
				defer c.Close()
				handle(c)
			}()
		}
	}()
	tb.Cleanup(func() { cancel(); l.Close(); <-ended })
	return "http://" + l.Addr().String() + "/hook", conns
}

// answering reads one whole request, writes the answer byte by byte as it is, and hangs up.
func answering(answer string) func(net.Conn) {
	return func(c net.Conn) {
		if readRequest(bufio.NewReader(c)) == nil {
			_, _ = io.WriteString(c, answer)
		}
	}
}

func readRequest(r *bufio.Reader) error {
	req, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err
}

func bounded(t *testing.T, limit time.Duration, do func()) {
	t.Helper()
	began := time.Now()
	do()
	if took := time.Since(began); took > limit {
		t.Errorf("it took %s, and %s are allowed", took, limit)
	}
}
