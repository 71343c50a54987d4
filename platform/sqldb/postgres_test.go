package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lib/pq"

	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

func TestArraysOnPostgres(t *testing.T) {
	db := migrated(t, sqldbtest.OpenPostgres(t))
	ids := []string{"a", "b,{}\"", "c'\\", "Zoë 李"}
	at := time.Date(2026, 11, 20, 9, 0, 0, 123456000, time.UTC)
	_, err := db.ExecContext(t.Context(), `
		INSERT INTO people (id, email, seen, photo)
		SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bytea[])`,
		ids, ids, []time.Time{at, at, at, at}, [][]byte{{0, 0xff}, {}, []byte("'"), nil}) // lib/pq makes a nil among them empty, not NULL
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := db.SelectContext(t.Context(), &got, `SELECT id FROM people WHERE id = ANY($1) AND seen = $2 ORDER BY id COLLATE "C"`, pq.Array(ids), at); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Zoë 李", "a", "b,{}\"", "c'\\"}, got); diff != "" {
		t.Error(diff)
	}
	var photos [][]byte
	if err := db.SelectContext(t.Context(), &photos, `SELECT photo FROM people ORDER BY id COLLATE "C" DESC`); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]byte{[]byte("'"), {}, {0, 0xff}, {}}, photos); diff != "" {
		t.Error(diff)
	}
}

func TestCopyOnPostgres(t *testing.T) {
	db := migrated(t, sqldbtest.OpenPostgres(t))
	err := db.InTx(t.Context(), func(tx *sqldb.Tx) error {
		st, err := tx.PrepareContext(t.Context(), `COPY pairs (a, b) FROM STDIN`)
		if err != nil {
			return err
		}
		defer st.Close()
		for n := range 1000 {
			if _, err := st.ExecContext(t.Context(), n, n); err != nil {
				return err
			}
		}
		_, err = st.ExecContext(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "pairs"); n != 1000 {
		t.Errorf("%d rows", n)
	}
}

func TestServerSettings(t *testing.T) {
	url := sqldbtest.PostgresURL(t)
	setting := func(db *sqldb.DB, name string) string {
		t.Helper()
		var v string
		if err := db.GetContext(t.Context(), &v, `SELECT current_setting($1)`, name); err != nil {
			t.Fatal(err)
		}
		return v
	}
	ours := sqldbtest.Open(t, url, sqldb.ApplicationName("bank-svc"))
	theirs := sqldbtest.Open(t, with(t, with(t, url, "statement_timeout", "1min"), "application_name", "mine"))
	for _, tt := range []struct{ name, ours, theirs string }{
		{"TimeZone", "UTC", "UTC"},
		{"statement_timeout", "30s", "1min"},
		{"lock_timeout", "5s", "5s"},
		{"idle_in_transaction_session_timeout", "10s", "10s"},
		{"application_name", "bank-svc", "mine"},
	} {
		if got := setting(ours, tt.name); got != tt.ours {
			t.Errorf("%s = %s, want %s", tt.name, got, tt.ours)
		}
		if got := setting(theirs, tt.name); got != tt.theirs {
			t.Errorf("%s of the URL = %s, want %s", tt.name, got, tt.theirs)
		}
	}
	if n := ours.Stats().MaxOpenConnections; n != 16 {
		t.Errorf("pool of %d", n)
	}
}

// Callers that give up, at any moment, do no harm to those who share the pool.
func TestCancellationsHitNobodyElse(t *testing.T) {
	db := migrated(t, sqldbtest.Open(t, sqldbtest.PostgresURL(t), sqldb.MaxOpenConns(6)))
	prepared, err := db.PrepareContext(t.Context(), `SELECT count(*) FROM generate_series(1, $1::int)`) //nolint:sqlclosecheck // closed by defer, used in closures
	if err != nil {
		t.Fatal(err)
	}
	defer prepared.Close()
	calls := []func(ctx context.Context) error{
		func(ctx context.Context) error {
			var n int
			return prepared.QueryRowContext(ctx, 500).Scan(&n)
		},
		func(ctx context.Context) error {
			var n int
			return db.QueryRowContext(ctx, `SELECT count(*) FROM generate_series(1, $1::int)`, 500).Scan(&n)
		},
		func(ctx context.Context) error {
			return db.InTx(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO pairs VALUES ($1, $2)`, rand.Int64(), rand.Int64())
				return err
			})
		},
	}
	stop := time.Now().Add(time.Second)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			for n := 0; time.Now().Before(stop); n++ {
				ctx, cancel := t.Context(), func() {}
				if i%2 == 0 {
					ctx, cancel = context.WithTimeout(ctx, rand.N(3*time.Millisecond))
				}
				err := calls[n%len(calls)](ctx)
				cancel()
				switch {
				case err == nil:
				case i%2 != 0:
					t.Errorf("a patient caller: %v", err)
				case !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, sql.ErrTxDone):
					t.Errorf("an impatient caller: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for range 100 { // the last rollbacks end in the background
		if db.Stats().InUse == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d connections in use", db.Stats().InUse)
}
