package sqlstore_test

import (
	"context"
	"errors"
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

// benchmarkStore runs op from 64 callers, numbered from 1, on a running store of each engine.
func benchmarkStore(b *testing.B, prepare func(b *testing.B, s *sqlstore.Store), op func(s *sqlstore.Store, i int) error) {
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
		prepare(b, s)
		var n atomic.Int64
		b.SetParallelism(32)
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := op(s, int(n.Add(1))); err != nil {
					b.Error(err)
				}
			}
		})
		b.StopTimer()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkCreate is one employee a call, with a request id.
func BenchmarkCreate(b *testing.B) {
	benchmarkStore(b, func(*testing.B, *sqlstore.Store) {}, func(s *sqlstore.Store, i int) error {
		_, err := s.Create(context.Background(), hr, employee.Create{Employee: person(i), RequestID: fmt.Sprintf("request-%d", i)})
		return err
	})
}

// BenchmarkUpdate changes one of 1,000 employees a call.
func BenchmarkUpdate(b *testing.B) {
	var ids []string
	benchmarkStore(b, func(b *testing.B, s *sqlstore.Store) {
		ids = nil
		var creates []employee.Create
		for i := range 1000 {
			creates = append(creates, employee.Create{Employee: person(i)})
		}
		results, _, err := s.CreateEach(b.Context(), hr, creates)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range results {
			ids = append(ids, r.Employee.ID)
		}
	}, func(s *sqlstore.Store, i int) error {
		_, err := s.Update(context.Background(), hr, ids[i%len(ids)], change)
		return err
	})
}
