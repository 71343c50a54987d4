package banksvc

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
	"hirewire.dev/webhook"
)

// BenchmarkEventToAccount sends signed events over 64 connections of HTTPS, the sender in this process too, until every account is open.
func BenchmarkEventToAccount(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchmarkEvents(b, sqldbtest.SQLiteURL(b)) })
	b.Run("postgres", func(b *testing.B) { benchmarkEvents(b, sqldbtest.PostgresURL(b)) })
}

func benchmarkEvents(b *testing.B, url string) {
	secret := webhook.NewSecret()
	cfg := config(url, secret)
	cfg.Register = false
	s, err := New(b.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		b.Fatal(err)
	}
	events := make([]fact, b.N)
	for i := range events {
		events[i] = created(person("Ada Byron"))
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: certs().pool, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64,
	}}
	b.Cleanup(client.CloseIdleConnections)
	send := func(f fact) error {
		body := f.body()
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "https://"+s.HTTPAddr()+WebhookPath, bytes.NewReader(body))
		if err != nil {
			return err
		}
		at := time.Now()
		req.Header = http.Header{
			"Content-Type": {"application/json"}, "Webhook-Id": {f.id}, "Webhook-Timestamp": {fmt.Sprint(at.Unix())},
			"Webhook-Signature": {signer.Sign(f.id, at, body)},
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode != http.StatusOK {
			err = fmt.Errorf("%d", res.StatusCode)
		}
		_ = res.Body.Close()
		return err
	}
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				if err := send(events[i]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	sent := b.Elapsed()
	db, err := sqldb.Open(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for n := -1; n < b.N; {
		if err := db.GetContext(b.Context(), &n, `SELECT count(*) FROM accounts`); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "accounts/s")
	b.ReportMetric(float64(b.N)/sent.Seconds(), "acks/s")
}
