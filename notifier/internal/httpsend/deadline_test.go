package httpsend

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/egress"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/webhook"
)

// F31, F32, F41: the deadlines, to the second, in virtual time: the receiver is at the other end of a pipe.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	answerAfter := func(wait time.Duration) func(context.Context, net.Conn) {
		return func(ctx context.Context, c net.Conn) {
			read(c)
			pause(ctx, wait)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}
	drip := func(head string) func(context.Context, net.Conn) {
		return func(ctx context.Context, c net.Conn) {
			read(c)
			_, _ = io.WriteString(c, head)
			for pause(ctx, time.Second) {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
			}
		}
	}
	for name, tt := range map[string]struct {
		scheme  string
		handle  func(context.Context, net.Conn)
		outcome delivery.Outcome
		status  int
		took    time.Duration
	}{
		"1 s":                    {"http", answerAfter(time.Second), delivery.OutcomeDelivered, 200, time.Second},
		"14 s":                   {"http", answerAfter(14 * time.Second), delivery.OutcomeDelivered, 200, 14 * time.Second},
		"16 s":                   {"http", answerAfter(16 * time.Second), delivery.OutcomeTimeout, 0, 15 * time.Second},
		"no accept":              {"http", nil, delivery.OutcomeTimeout, 0, 3 * time.Second},
		"nothing read":           {"http", func(ctx context.Context, _ net.Conn) { pause(ctx, time.Hour) }, delivery.OutcomeTimeout, 0, 15 * time.Second},
		"no headers":             {"http", answerAfter(time.Hour), delivery.OutcomeTimeout, 0, 15 * time.Second},
		"headers dripping":       {"http", drip("HTTP/1.1 200 OK\r\nX: "), delivery.OutcomeTimeout, 0, 15 * time.Second},
		"a body dripping":        {"http", drip("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), delivery.OutcomeDelivered, 200, 15 * time.Second},
		"a body dripping on 500": {"http", drip("HTTP/1.1 500 X\r\n\r\n"), delivery.OutcomeRejected, 500, 15 * time.Second},
		"100s dripping": {"http", func(ctx context.Context, c net.Conn) {
			read(c)
			for pause(ctx, 4*time.Second) {
				_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			}
		}, delivery.OutcomeTimeout, 0, 15 * time.Second},
		"TLS stalling": {"https", func(ctx context.Context, c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			pause(ctx, time.Hour)
		}, delivery.OutcomeTimeout, 0, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				sender := New(Config{Guard: &egress.Guard{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
				ended := make(chan struct{})
				sender.connect = func(ctx2 context.Context, _, _ string) (net.Conn, error) {
					if tt.handle == nil {
						close(ended)
						timer, stop := context.WithTimeout(ctx2, ConnectTimeout)
						defer stop()
						<-timer.Done()
						return nil, &net.OpError{Op: "dial", Net: "tcp", Err: timer.Err()}
					}
					ours, theirs := net.Pipe()
					go func() {
						defer close(ended)
						defer theirs.Close()
						tt.handle(ctx, theirs)
					}()
					return ours, nil
				}
				began := time.Now()
				a := sender.Send(ctx, syntheticRequest(t, tt.scheme+"://127.0.0.1:8443/"))
				if took := time.Since(began); took != tt.took || a.Duration != tt.took {
					t.Errorf("it took %s, want %s", took, tt.took)
				}
				if a.Outcome != tt.outcome || a.StatusCode != tt.status {
					t.Errorf("%+v", a)
				}
				cancel()
				sender.endpoints.shutdown()
				<-ended
			})
		})
	}
}

// An idle connection is closed in time, and Run closes what is left.
func TestIdleConnectionsGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		sender := New(Config{Guard: &egress.Guard{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
		open := make(chan int, 100)
		sender.connect = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			open <- 1
			go func() {
				r := bufio.NewReader(theirs)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						open <- -1
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					_, _ = io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			}()
			return ours, nil
		}
		count := func() (n int) {
			synctest.Wait()
			for {
				select {
				case d := <-open:
					n += d
				default:
					return n
				}
			}
		}
		ran := make(chan struct{})
		go func() { defer close(ran); _ = sender.Run(ctx) }()
		for range 3 {
			if a := sender.Send(ctx, syntheticRequest(t, "http://127.0.0.1:8080/")); a.Outcome != delivery.OutcomeDelivered {
				t.Fatalf("%+v", a)
			}
			time.Sleep(10 * time.Second)
		}
		if n := count(); n != 1 {
			t.Errorf("%d connections were opened", n)
		}
		time.Sleep(idleTimeout * 2)
		if n := count(); n != -1 {
			t.Errorf("the idle connection stayed (%d)", n)
		}
		sender.Send(ctx, syntheticRequest(t, "http://127.0.0.1:8080/"))
		cancel()
		<-ran
		if n := count(); n != 0 {
			t.Errorf("%d connections stayed", n)
		}
		time.Sleep(time.Hour)
		sender.endpoints.sweep(time.Now())
		if len(sender.endpoints.byURL) != 0 || len(sender.endpoints.pools) != 0 || sender.endpoints.idle != 0 {
			t.Errorf("%+v", &sender.endpoints.byURL)
		}
	})
}

func syntheticRequest(t *testing.T, url string) delivery.Request {
	t.Helper()
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	return delivery.Request{
		Target:  &subscription.Target{Subscription: subscription.Subscription{URL: url}, Signer: signer},
		Attempt: 1, Event: &event.Event{ID: "evt_1", Payload: []byte(`{}`)},
	}
}

// read takes one request.
func read(c net.Conn) {
	if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
		_, _ = io.Copy(io.Discard, req.Body)
	}
}

// pause says whether the time passed before the end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
