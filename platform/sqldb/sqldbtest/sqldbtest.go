// Package sqldbtest opens throw-away databases, so that a store's behaviour
// suite runs on every engine.
package sqldbtest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hirewire.dev/platform/sqldb"
)

// PostgresEnv names the environment variable with the PostgreSQL cluster for
// tests, as a URL of a role that may create databases.
const PostgresEnv = "TEST_POSTGRES_DSN"

// Run runs test once for each engine, as subtests "sqlite" and "postgres".
// Each call of open gives a new, empty database that lives as long as its t.
func Run(t *testing.T, test func(t *testing.T, open func(t *testing.T) *sqldb.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, OpenSQLite) })
	t.Run("postgres", func(t *testing.T) {
		requirePostgres(t)
		test(t, OpenPostgres)
	})
}

// OpenSQLite opens a new, empty SQLite database in the test's own folder.
func OpenSQLite(t *testing.T) *sqldb.DB {
	t.Helper()
	return Open(t, SQLiteURL(t))
}

// OpenPostgres opens a new, empty PostgreSQL database. It skips the test,
// loudly, when no cluster is named by the environment.
func OpenPostgres(t *testing.T) *sqldb.DB {
	t.Helper()
	return Open(t, PostgresURL(t))
}

// Open opens url and closes it when the test ends.
func Open(tb testing.TB, url string, opts ...sqldb.Option) *sqldb.DB {
	tb.Helper()
	db, err := sqldb.Open(tb.Context(), url, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return db
}

// SQLiteURL is the URL of a new SQLite file in the test's own folder.
func SQLiteURL(tb testing.TB) string {
	tb.Helper()
	return "sqlite:" + filepath.Join(tb.TempDir(), "test-"+strings.ToLower(rand.Text()[:8])+".db")
}

// PostgresURL creates a database in the test cluster, dropped when the test
// ends, and gives its URL. It skips the test, loudly, when no cluster is named.
func PostgresURL(tb testing.TB) string {
	tb.Helper()
	requirePostgres(tb)
	admin := os.Getenv(PostgresEnv)
	name := "hw_" + strings.ToLower(rand.Text())
	exec(tb.Context(), tb, admin, "CREATE DATABASE "+name)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), time.Minute)
		defer cancel()
		exec(ctx, tb, admin, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	})
	u, err := url.Parse(admin)
	if err != nil {
		tb.Fatalf("%s is malformed", PostgresEnv)
	}
	u.Path = "/" + name
	return u.String()
}

func exec(ctx context.Context, tb testing.TB, url, query string) {
	tb.Helper()
	db, err := sqldb.Open(ctx, url, sqldb.MaxOpenConns(1))
	if err != nil {
		tb.Fatalf("test cluster: %v", err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, query); err != nil {
		tb.Fatalf("test cluster: %v", err)
	}
}

func requirePostgres(tb testing.TB) {
	tb.Helper()
	if os.Getenv(PostgresEnv) == "" {
		LeaveOut(tb, "PostgreSQL: "+PostgresEnv+" is not set (make test sets it)")
	}
}
