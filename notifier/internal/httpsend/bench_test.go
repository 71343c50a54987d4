package httpsend_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/httpsend"
)

// BenchmarkSend is signed POSTs to a receiver that does next to nothing, 64 at a time: what the sender costs, with the
// receiver's part in the figure. The transport is net/http's, for the same request; it is why that is not used.
func BenchmarkSend(b *testing.B) {
	ca := newAuthority(b)
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue(b, nil)}}
	for _, scheme := range []string{"http", "https"} {
		url, _ := rawServer(b, func(c net.Conn) {
			if scheme == "https" {
				c = tls.Server(c, cfg)
			}
			terse(c)
		})
		url = strings.Replace(url, "http:", scheme+":", 1)
		sender := newSender(b, httpsend.Config{RootCAs: ca.pool})
		b.Run(scheme+"/sender", func(b *testing.B) {
			b.SetParallelism(32)
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				req := request(b, url)
				ctx := context.WithoutCancel(b.Context())
				for p.Next() {
					if a := sender.Send(ctx, req); a.Outcome != delivery.OutcomeDelivered {
						b.Errorf("%+v", a)
						return
					}
				}
			})
		})
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: ca.pool}, MaxIdleConnsPerHost: 256, DisableCompression: true,
			TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
		}
		b.Run(scheme+"/transport", func(b *testing.B) {
			b.SetParallelism(32)
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				r := request(b, url)
				for p.Next() {
					if err := viaTransport(b.Context(), transport, r); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
		transport.CloseIdleConnections()
	}
}

func viaTransport(ctx context.Context, t *http.Transport, r delivery.Request) error {
	ctx, cancel := context.WithTimeout(ctx, delivery.SendTimeout)
	defer cancel()
	now := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Target.URL, bytes.NewReader(r.Event.Payload))
	if err != nil {
		return err
	}
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "Webhook-Id": {r.Event.ID}, "Webhook-Timestamp": {"1700000000"}, "Webhook-Attempt": {"1"},
		"Webhook-Signature": {r.Target.Signer.Sign(r.Event.ID, now, r.Event.Payload)}, "Traceparent": {r.Event.Traceparent},
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, httpsend.MaxBody))
	return resp.Body.Close()
}

// terse answers 200 to every request that has a content-length.
func terse(c net.Conn) {
	r := bufio.NewReader(c)
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{\"status\":\"accepted\"}")
	for {
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) <= 2 {
				break
			}
		}
		if _, err := r.Discard(len(payload)); err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}
