package sqlstore_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/employee-svc/internal/outbox"
	"hirewire.dev/employee-svc/internal/sqlstore"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

// benchmarkEngines runs bench on both engines, PostgreSQL as the service opens it.
func benchmarkEngines(b *testing.B, bench func(b *testing.B, db *sqldb.DB)) {
	b.Run("sqlite", func(b *testing.B) { bench(b, sqldbtest.Open(b, sqldbtest.SQLiteURL(b))) })
	b.Run("postgres", func(b *testing.B) {
		url := sqldbtest.PostgresURL(b)
		sep := "?"
		if strings.Contains(url, "?") {
			sep = "&"
		}
		bench(b, sqldbtest.Open(b, url+sep+"enable_seqscan=off&jit=off"))
	})
}

// BenchmarkCreate is 64 callers that create one employee at a time, with a request id.
func BenchmarkCreate(b *testing.B) {
	benchmarkEngines(b, func(b *testing.B, db *sqldb.DB) {
		if err := sqlstore.Migrate(b.Context(), db); err != nil {
			b.Fatal(err)
		}
		s, err := sqlstore.New(b.Context(), sqlstore.Config{DB: db, Handoff: outbox.NewHandoff(1000), Encode: encode})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		var n atomic.Int64
		b.SetParallelism(32)
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				i := int(n.Add(1))
				if _, err := s.Create(ctx, hr, employee.Create{Employee: person(i), RequestID: fmt.Sprintf("request-%d", i)}); err != nil {
					b.Error(err)
				}
			}
		})
		b.StopTimer()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		s.Close()
	})
}
