package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const schema = `
CREATE TABLE people (
	id    text PRIMARY KEY,
	email text NOT NULL,
	seen  timestamptz,
	photo bytea,
	ok    boolean NOT NULL DEFAULT FALSE
);
CREATE UNIQUE INDEX people_email ON people (lower(email));
CREATE TABLE pairs (a bigint NOT NULL, b bigint NOT NULL, UNIQUE (a, b));
`

func migrated(t *testing.T, db *sqldb.DB) *sqldb.DB {
	t.Helper()
	if err := db.Migrate(t.Context(), "test", fstest.MapFS{"0001_people.sql": {Data: []byte(schema)}}); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestValuesRoundTrip(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB) {
		db := migrated(t, open(t))
		zone := time.FixedZone("far", 13*3600+45*60)
		seen := time.Date(2026, 11, 20, 9, 0, 0, 123456789, zone)
		want := time.Date(2026, 11, 19, 19, 15, 0, 123456000, time.UTC)
		photo := []byte{0, 1, 0xff, '\''}
		var back time.Time
		if err := db.QueryRowContext(t.Context(),
			`INSERT INTO people (id, email, seen, photo, ok) VALUES ($1, $2, $3, $4, $5) RETURNING seen`,
			"emp_1", "Zoë 李@example.com", seen, photo, true).Scan(&back); err != nil {
			t.Fatal(err)
		}
		if !back.Equal(want) || back.Location() != time.UTC {
			t.Errorf("returned %v, want %v", back, want)
		}
		type row struct {
			ID, Email string
			Seen      sql.NullTime
			Photo     []byte
			OK        bool
		}
		for name, pool := range map[string]interface {
			GetContext(context.Context, any, string, ...any) error
		}{"writer": db, "reader": db.Reader()} {
			var got row
			if err := pool.GetContext(t.Context(), &got, `SELECT * FROM people WHERE id = $1 AND seen = $2`, "emp_1", seen.UTC()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(row{"emp_1", "Zoë 李@example.com", sql.NullTime{Time: want, Valid: true}, photo, true}, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		if _, err := db.ExecContext(t.Context(), `INSERT INTO people (id, email) VALUES ($1, $2)`, "emp_2", "b@x"); err != nil {
			t.Fatal(err)
		}
		var none row
		if err := db.GetContext(t.Context(), &none, `SELECT * FROM people WHERE seen IS NULL`); err != nil || none.Seen.Valid {
			t.Errorf("NULL time: %v %v", none.Seen, err)
		}
	})
}

// A time is the same instant whatever zone the process or the value has:
// comparing and sorting see instants.
func TestTimesDoNotDriftAcrossZones(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB) {
		db := migrated(t, open(t))
		base := time.Date(2026, 3, 29, 0, 59, 59, 999999000, time.UTC) // around a change to summer time
		zones := []*time.Location{time.UTC, time.FixedZone("", -11*3600), time.FixedZone("", 14*3600)}
		if berlin, err := time.LoadLocation("Europe/Berlin"); err == nil {
			zones = append(zones, berlin)
		}
		for i := range 12 {
			at := base.Add(time.Duration(i-6) * 20 * time.Minute).In(zones[i%len(zones)])
			if _, err := db.ExecContext(t.Context(), `INSERT INTO people (id, email, seen) VALUES ($1, $2, $3)`,
				fmt.Sprintf("%02d", i), fmt.Sprint(i), at); err != nil {
				t.Fatal(err)
			}
		}
		for _, zone := range zones {
			var ids []string
			if err := db.SelectContext(t.Context(), &ids, `SELECT id FROM people WHERE seen <= $1 ORDER BY seen DESC LIMIT 3`, base.In(zone)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"06", "05", "04"}, ids); diff != "" {
				t.Errorf("%v: %s", zone, diff)
			}
		}
	})
}

func TestReaderCannotWriteOnSQLite(t *testing.T) {
	db := migrated(t, sqldbtest.OpenSQLite(t))
	_, err := db.Reader().ExecContext(t.Context(), `INSERT INTO pairs VALUES (1, 1)`)
	if !sqldb.IsUnavailable(err) {
		t.Errorf("write through the reader: %v", err)
	}
}

func TestReaderDoesNotWaitForTheWriter(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB) {
		db := migrated(t, open(t))
		err := db.InTx(t.Context(), func(tx *sqldb.Tx) error {
			if _, err := tx.ExecContext(t.Context(), `INSERT INTO pairs VALUES (1, 1)`); err != nil {
				return err
			}
			var n int
			if err := db.Reader().GetContext(t.Context(), &n, `SELECT count(*) FROM pairs`); err != nil || n != 0 {
				t.Errorf("outside the transaction: %d, %v", n, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.Reader().GetContext(t.Context(), &n, `SELECT count(*) FROM pairs`); err != nil || n != 1 {
			t.Errorf("after the commit: %d, %v", n, err)
		}
	})
}

func TestOpenRefusesBadURLs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{
		"", "mysql://x", "x.db", "sqlite:", "sqlite:" + file + "/x.db",
		"postgres://u:hunter2@h:port/db", "postgres://u:hunter2@127.0.0.1:1/db%zz",
		"postgres://u:hunter2@127.0.0.1:1/db?connect_timeout=hunter", "postgres://u:hunter2@127.0.0.1:1/db?sslmode=maybe",
	} {
		_, err := sqldb.Open(t.Context(), url)
		if err == nil {
			t.Errorf("%s opened", url)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

func TestOpenUnreachablePostgresIsUnavailable(t *testing.T) {
	_, err := sqldb.Open(t.Context(), "postgres://u:hunter2@127.0.0.1:1/db")
	if !sqldb.IsUnavailable(err) || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

func TestSQLitePathsAndPermissions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new folder", "a b?#%41.db")
	db := migrated(t, sqldbtest.Open(t, "sqlite:"+path))
	if _, err := db.ExecContext(t.Context(), `INSERT INTO pairs VALUES (1, 1)`); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-wal"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", filepath.Base(name), info.Mode())
		}
	}
	want := map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "1000", "temp_store": "2",
	}
	for pragma, value := range want {
		var got string
		if err := db.GetContext(t.Context(), &got, "PRAGMA "+pragma); err != nil || got != value {
			t.Errorf("%s = %s, want %s (%v)", pragma, got, value, err)
		}
	}
}

// Two handles stand for two processes: neither loses a write.
func TestTwoHandlesOnOneSQLiteFile(t *testing.T) {
	url := sqldbtest.SQLiteURL(t)
	a, b := migrated(t, sqldbtest.Open(t, url)), sqldbtest.Open(t, url)
	const each = 100
	var wg sync.WaitGroup
	for i, db := range []*sqldb.DB{a, b} {
		for w := range 4 {
			wg.Go(func() {
				for n := range each / 4 {
					err := db.InTx(t.Context(), func(tx *sqldb.Tx) error {
						var have int
						if err := tx.GetContext(t.Context(), &have, `SELECT count(*) FROM pairs`); err != nil {
							return err
						}
						_, err := tx.ExecContext(t.Context(), `INSERT INTO pairs VALUES ($1, $2)`, i, w*each+n)
						return err
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	var n int
	if err := b.GetContext(t.Context(), &n, `SELECT count(*) FROM pairs`); err != nil || n != 2*each {
		t.Errorf("%d rows, want %d (%v)", n, 2*each, err)
	}
}

func TestSQL(t *testing.T) {
	sqlite := sqldbtest.OpenSQLite(t)
	tests := []struct{ in, want string }{
		{"SELECT 1", "SELECT 1"},
		{"SELECT id FROM t WHERE a = $1 FOR UPDATE", "SELECT id FROM t WHERE a = $1"},
		{"SELECT id FROM t\n  FOR UPDATE SKIP LOCKED\n", "SELECT id FROM t\n"},
		{"(SELECT id FROM t for no key update of t skip locked)", "(SELECT id FROM t)"},
		{"SELECT id FROM t FOR SHARE NOWAIT;", "SELECT id FROM t;"},
		{"SELECT id FROM t FOR KEY SHARE LIMIT 1", "SELECT id FROM t LIMIT 1"},
		{"SELECT 'x FOR UPDATE', \"bytea\", '''bytea'' ' -- FOR UPDATE\n, $$bytea$$, $a$ bytea $a$ /* bytea */", "SELECT 'x FOR UPDATE', \"bytea\", '''bytea'' ' -- FOR UPDATE\n, $$bytea$$, $a$ bytea $a$ /* bytea */"},
		{"SELECT forupdate, bytea_x FROM t FOR ORDER", "SELECT forupdate, bytea_x FROM t FOR ORDER"},
		{"CAST($1 AS BYTEA), CAST($2 AS timestamptz)", "CAST($1 AS blob), CAST($2 AS timestamp)"},
		{"", ""},
		{"SELECT 'open", "SELECT 'open"},
	}
	for _, tt := range tests {
		if got := sqlite.SQL(tt.in); got != tt.want {
			t.Errorf("SQL(%q)\n got %q\nwant %q", tt.in, got, tt.want)
		}
		if got := sqlite.SQL(tt.in); got != tt.want {
			t.Errorf("second SQL(%q) = %q", tt.in, got)
		}
	}
}

func TestNamedQueries(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB) {
		db := migrated(t, open(t))
		rows := []map[string]any{{"a": 1, "b": 2}, {"a": 3, "b": 4}}
		if _, err := db.NamedExecContext(t.Context(), `INSERT INTO pairs (a, b) VALUES (:a, :b)`, rows); err != nil {
			t.Fatal(err)
		}
		var got []int
		if err := db.SelectContext(t.Context(), &got, `SELECT b FROM pairs ORDER BY b`); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{2, 4}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestReadyEndsWithItsContext(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB) {
		db := open(t)
		if err := db.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := db.Ready(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
