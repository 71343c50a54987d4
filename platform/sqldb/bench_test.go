package sqldb_test

import (
	"context"
	"database/sql"
	"testing"
	"testing/fstest"

	"github.com/jmoiron/sqlx"

	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

func benchEngines(b *testing.B, run func(b *testing.B, db *sqldb.DB)) {
	b.Helper()
	for name, url := range map[string]func(testing.TB) string{"sqlite": sqldbtest.SQLiteURL, "postgres": sqldbtest.PostgresURL} {
		b.Run(name, func(b *testing.B) {
			db := sqldbtest.Open(b, url(b))
			if err := db.Migrate(b.Context(), "bench", fstest.MapFS{"0001_x.sql": {Data: []byte(`CREATE TABLE x (id bigint PRIMARY KEY, n bigint NOT NULL);`)}}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			run(b, db)
		})
	}
}

func BenchmarkInTx(b *testing.B) {
	benchEngines(b, func(b *testing.B, db *sqldb.DB) {
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		n := 0
		for b.Loop() {
			n++
			err := db.InTx(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO x VALUES ($1, $2)`, n, n)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkQuery(b *testing.B) {
	benchEngines(b, func(b *testing.B, db *sqldb.DB) {
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		for b.Loop() {
			var n int
			if err := db.Reader().QueryRowContext(ctx, `SELECT $1 + 1`, 1).Scan(&n); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPrepared(b *testing.B) {
	benchEngines(b, func(b *testing.B, db *sqldb.DB) {
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		st, err := db.Reader().PrepareContext(ctx, `SELECT CAST($1 AS bigint) + 1`)
		if err != nil {
			b.Fatal(err)
		}
		defer st.Close()
		for b.Loop() {
			var n int
			if err := st.QueryRowContext(ctx, 1).Scan(&n); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkBareDriver is BenchmarkQuery and BenchmarkPrepared on lib/pq
// itself: the difference is what the guard costs and the round trip it saves.
func BenchmarkBareDriver(b *testing.B) {
	bare, err := sql.Open("postgres", sqldbtest.PostgresURL(b))
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	db := sqlx.NewDb(bare, "postgres")
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var n int
	b.Run("query", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := db.QueryRowContext(ctx, `SELECT $1 + 1`, 1).Scan(&n); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("prepared", func(b *testing.B) {
		st, err := db.PrepareContext(ctx, `SELECT CAST($1 AS bigint) + 1`)
		if err != nil {
			b.Fatal(err)
		}
		defer st.Close()
		b.ReportAllocs()
		for b.Loop() {
			if err := st.QueryRowContext(ctx, 1).Scan(&n); err != nil {
				b.Fatal(err)
			}
		}
	})
}
