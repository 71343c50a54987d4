package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hirewire.dev/webhook"
	"hirewire.dev/webhook/inbox"
)

func benchEach(b *testing.B, run func(b *testing.B, db *database)) {
	b.Run("sqlite", func(b *testing.B) { run(b, openSQLite(b)) })
	b.Run("postgres", func(b *testing.B) { run(b, openPostgres(b)) })
}

// acceptMany stores n typical events from 64 goroutines, each waiting for its
// commit before it stores the next one, as the connections of a sender do.
func acceptMany(b *testing.B, p *process, n int) {
	b.Helper()
	filler := strings.Repeat("x", 380)
	var next atomic.Int64
	var wg sync.WaitGroup
	prefix := "evt_" + strconv.FormatInt(time.Now().UnixNano(), 36) + "_"
	for range 64 {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(n) {
					return
				}
				key := fmt.Sprintf("emp_%08d", i)
				body := fmt.Appendf(nil, `{"id":"%s%08d","type":"employee.created","timestamp":"2026-11-20T09:00:00Z","data":{"key":"%s","n":1,"filler":"%s"}}`, prefix, i, key, filler)
				event, err := webhook.ParseEvent(body)
				if err != nil {
					b.Error(err)
					return
				}
				d := webhook.Delivery{
					Verification: webhook.Verification{ID: event.ID, SentAt: event.Timestamp, Kind: webhook.KindHMAC},
					Body:         body, Event: event, ReceivedAt: time.Now(),
				}
				if err := p.Accept(context.Background(), d); err != nil && !errors.Is(err, webhook.ErrQuarantined) {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkAccept is the durable insert alone: 64 senders at once.
func BenchmarkAccept(b *testing.B) {
	benchEach(b, func(b *testing.B, db *database) {
		c := config(db)
		c.Poll = time.Hour
		c.Subject = func(webhook.Event) (inbox.Subject, error) { return inbox.Subject{}, os.ErrInvalid } // no work
		p := start(b, c)
		b.ReportAllocs()
		b.ResetTimer()
		acceptMany(b, p, b.N)
		b.StopTimer()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
}

// BenchmarkAcceptAndApply is the whole way: durable insert, then a handler that
// inserts a row of its own, by single statements or by batches.
func BenchmarkAcceptAndApply(b *testing.B) {
	benchEach(b, func(b *testing.B, db *database) {
		for name, handle := range map[string]inbox.BatchHandler{"single": nil, "batch": effectBatch} {
			b.Run(name, func(b *testing.B) {
				c := config(db)
				c.Poll = time.Second
				if handle != nil {
					c.Handle, c.HandleBatch = nil, handle
				}
				p := start(b, c)
				b.ReportAllocs()
				b.ResetTimer()
				acceptMany(b, p, b.N)
				eventually(b, "all processed", func() bool { return p.journal.count(inbox.Processed) >= b.N })
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
				p.stop()
				if n := p.journal.count(inbox.Processed); n != b.N {
					b.Errorf("%d processed of %d", n, b.N)
				}
				b.ReportMetric(float64(b.N)/float64(len(p.journal.of(inbox.Stored))), "events/insert")
				b.ReportMetric(float64(b.N)/float64(len(p.journal.of(inbox.Processed))), "events/apply")
			})
		}
	})
}

func effectBatch(ctx context.Context, tx *sql.Tx, events []*inbox.Event) error {
	marks := make([]string, len(events))
	args := make([]any, 0, 3*len(events))
	for i, e := range events {
		marks[i] = fmt.Sprintf("($%d, $%d, $%d)", 3*i+1, 3*i+2, 3*i+3)
		args = append(args, e.ID, e.Subject.Key, e.Subject.Version)
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO effects (id, key, n) VALUES "+strings.Join(marks, ", "), args...)
	return err
}
