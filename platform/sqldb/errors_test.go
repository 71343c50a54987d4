package sqldb_test

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

type class struct{ unique, unavailable, full, retryable bool }

func classOf(err error) class {
	_, unique := sqldb.IsUnique(err)
	return class{unique, sqldb.IsUnavailable(err), sqldb.IsFull(err), sqldb.IsRetryable(err)}
}

func TestErrorClasses(t *testing.T) {
	code := func(c string) error { return &pq.Error{Code: pqerror.Code(c)} }
	tests := []struct {
		name string
		err  error
		want class
	}{
		{"nil", nil, class{}},
		{"other", errors.New("connection refused"), class{}},
		{"unique_violation", code("23505"), class{unique: true}},
		{"foreign_key_violation", code("23503"), class{}},
		{"check_violation", code("23514"), class{}},
		{"serialization_failure", code("40001"), class{retryable: true}},
		{"deadlock_detected", code("40P01"), class{retryable: true}},
		{"lock_not_available", code("55P03"), class{retryable: true}},
		{"disk_full", code("53100"), class{full: true}},
		{"too_many_connections", code("53300"), class{unavailable: true}},
		{"read_only_sql_transaction", code("25006"), class{unavailable: true}},
		{"admin_shutdown", code("57P01"), class{unavailable: true}},
		{"crash_shutdown", code("57P02"), class{unavailable: true}},
		{"cannot_connect_now", code("57P03"), class{unavailable: true}},
		{"connection_failure", code("08006"), class{unavailable: true}},
		{"io_error", code("58030"), class{unavailable: true}},
		{"statement timeout", code("57014"), class{unavailable: true}},
		{"cancelled by the caller", fmt.Errorf("%w: %w", context.Canceled, code("57014")), class{}},
		{"syntax_error", code("42601"), class{}},
		{"invalid_password", code("28P01"), class{}},
		{"bad connection", driver.ErrBadConn, class{unavailable: true}},
		{"end of file", io.ErrUnexpectedEOF, class{unavailable: true}},
		{"refused", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, class{unavailable: true}},
		{"no such host", &net.DNSError{Err: "no such host"}, class{unavailable: true}},
		{"ambiguous", &sqldb.AmbiguousError{Err: io.EOF}, class{unavailable: true}},
		{"deadline", context.DeadlineExceeded, class{}},
		{"cancelled", context.Canceled, class{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := classOf(tt.err); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if tt.err == nil {
				return
			}
			if got := classOf(fmt.Errorf("wrapped: %w", tt.err)); got != tt.want {
				t.Errorf("wrapped: got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestUniqueNamesTheConstraint(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB) {
		db := migrated(t, open(t))
		pg := db.Engine == sqldb.PostgreSQL
		tests := []struct{ insert, sqlite, postgres string }{
			{`INSERT INTO people (id, email) VALUES ('a', 'x@y')`, "people.id", "people_pkey"},
			{`INSERT INTO people (id, email) VALUES ('b', 'A@B')`, "index 'people_email'", "people_email"},
			{`INSERT INTO pairs VALUES (1, 2)`, "pairs.a, pairs.b", "pairs_a_b_key"},
		}
		if _, err := db.ExecContext(t.Context(), `INSERT INTO people (id, email) VALUES ('a', 'a@b')`); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), `INSERT INTO pairs VALUES (1, 2)`); err != nil {
			t.Fatal(err)
		}
		for _, tt := range tests {
			_, err := db.ExecContext(t.Context(), tt.insert)
			want := tt.sqlite
			if pg {
				want = tt.postgres
			}
			if got, ok := sqldb.IsUnique(err); !ok || got != want {
				t.Errorf("%s: %q, %v, want %q", tt.insert, got, ok, want)
			}
			if got := classOf(err); got != (class{unique: true}) {
				t.Errorf("%s: %+v", tt.insert, got)
			}
		}
		_, err := db.ExecContext(t.Context(), `INSERT INTO people (id) VALUES ('c')`)
		if err == nil || classOf(err) != (class{}) {
			t.Errorf("NOT NULL: %v", err)
		}
	})
}

func TestBusyOnSQLite(t *testing.T) {
	url := sqldbtest.SQLiteURL(t)
	a := migrated(t, sqldbtest.Open(t, url))
	b := sqldbtest.Open(t, url, sqldb.LockTimeout(20*time.Millisecond))
	err := a.InTx(t.Context(), func(*sqldb.Tx) error {
		err := b.InTx(t.Context(), func(*sqldb.Tx) error { return nil })
		if !sqldb.IsRetryable(err) {
			t.Errorf("while the other writes: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		if err := b.InTx(ctx, func(*sqldb.Tx) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("short of time: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.InTx(t.Context(), func(*sqldb.Tx) error { return nil }); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestFullOnSQLite(t *testing.T) {
	db := migrated(t, sqldbtest.OpenSQLite(t))
	var pages int
	if err := db.GetContext(t.Context(), &pages, `PRAGMA page_count`); err != nil {
		t.Fatal(err)
	}
	limit := func(n int) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf(`PRAGMA max_page_count = %d`, n)); err != nil {
			t.Fatal(err)
		}
	}
	insert := func(tx *sqldb.Tx) error {
		_, err := tx.ExecContext(t.Context(), `INSERT INTO people (id, email, photo) VALUES ('a', 'a', $1)`, make([]byte, 1<<20))
		return err
	}
	limit(pages + 2)
	if err := db.InTx(t.Context(), insert); classOf(err) != (class{full: true}) {
		t.Errorf("%+v %v", classOf(err), err)
	}
	limit(1 << 30)
	if err := db.InTx(t.Context(), insert); err != nil {
		t.Errorf("with space again: %v", err)
	}
	var ok string
	if err := db.GetContext(t.Context(), &ok, `PRAGMA integrity_check`); err != nil || ok != "ok" {
		t.Error(ok, err)
	}
}

func TestReadOnlyPostgresIsUnavailable(t *testing.T) {
	url := sqldbtest.PostgresURL(t)
	migrated(t, sqldbtest.Open(t, url))
	db := sqldbtest.Open(t, with(t, url, "default_transaction_read_only", "on"))
	if _, err := db.ExecContext(t.Context(), `INSERT INTO pairs VALUES (1, 1)`); classOf(err) != (class{unavailable: true}) || errors.Is(err, sqldb.ErrAmbiguous) {
		t.Errorf("%+v %v", classOf(err), err)
	}
	if err := db.Ready(t.Context()); !sqldb.IsUnavailable(err) {
		t.Errorf("ready: %v", err)
	}
	if n := db.Stats().OpenConnections; n != 0 {
		t.Errorf("%d connections to the read-only server are kept", n)
	}
}

func TestTooManyConnectionsIsUnavailable(t *testing.T) {
	url := sqldbtest.PostgresURL(t)
	admin := sqldbtest.Open(t, url)
	for _, q := range []string{
		`CREATE ROLE hirewire_narrow LOGIN PASSWORD 'narrow' CONNECTION LIMIT 0`,
	} {
		if _, err := admin.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.WithoutCancel(t.Context()), `DROP ROLE hirewire_narrow`); err != nil {
			t.Error(err)
		}
	})
	_, err := sqldb.Open(t.Context(), as(t, url, "hirewire_narrow", "narrow"))
	if classOf(err) != (class{unavailable: true}) {
		t.Errorf("%+v %v", classOf(err), err)
	}
}

// A role without connections stands for a server that is still starting, until the log has said that Open waits for it.
func TestOpenAwaitsPostgres(t *testing.T) {
	url := sqldbtest.PostgresURL(t)
	admin := sqldbtest.Open(t, url)
	role := "hirewire_late_" + strings.ToLower(rand.Text())
	if _, err := admin.ExecContext(t.Context(), `CREATE ROLE `+role+` LOGIN PASSWORD 'late' CONNECTION LIMIT 0`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.WithoutCancel(t.Context()), `DROP ROLE `+role); err != nil {
			t.Error(err)
		}
	})
	url = as(t, url, role, "late")

	ctx, cancel := context.WithCancel(t.Context())
	_, err := sqldb.Open(ctx, url, sqldb.Await(slog.New(slog.NewTextHandler(writer(cancel), nil))))
	if !sqldb.IsUnavailable(err) {
		t.Errorf("cancelled: %v", err)
	}
	started := slog.New(slog.NewTextHandler(writer(func() {
		if _, err := admin.ExecContext(t.Context(), `ALTER ROLE `+role+` CONNECTION LIMIT -1`); err != nil {
			t.Error(err)
		}
	}), nil))
	db, err := sqldb.Open(t.Context(), url, sqldb.Await(started))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// writer calls itself for each line of a log.
type writer func()

func (w writer) Write(line []byte) (int, error) {
	w()
	return len(line), nil
}

func with(t *testing.T, raw, key, value string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = q.Encode()
	return u.String()
}

func as(t *testing.T, raw, user, password string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

func TestDeadlockIsRetried(t *testing.T) {
	db := migrated(t, sqldbtest.OpenPostgres(t))
	if _, err := db.ExecContext(t.Context(), `INSERT INTO pairs VALUES (1, 0), (2, 0)`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `SELECT 1`); err != nil {
		t.Fatal(err)
	}
	var met sync.WaitGroup // both hold their first row before either asks for its second
	met.Add(2)
	var wg sync.WaitGroup
	runs := make([]int, 2)
	for i, order := range [][]int{{1, 2}, {2, 1}} {
		wg.Go(func() {
			err := db.InTx(t.Context(), func(tx *sqldb.Tx) error {
				runs[i]++
				for n, a := range order {
					if n == 1 && runs[i] == 1 {
						met.Done()
						met.Wait()
					}
					if _, err := tx.ExecContext(t.Context(), `UPDATE pairs SET b = b + 1 WHERE a = $1`, a); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var sum int
	if err := db.GetContext(t.Context(), &sum, `SELECT sum(b) FROM pairs`); err != nil || sum != 4 {
		t.Errorf("sum %d, want 4 (%v)", sum, err)
	}
	if runs[0]+runs[1] < 3 {
		t.Errorf("runs %v: no deadlock happened", runs)
	}
}

func TestSerializationFailureIsRetried(t *testing.T) {
	db := migrated(t, sqldbtest.OpenPostgres(t))
	if _, err := db.ExecContext(t.Context(), `INSERT INTO pairs VALUES (1, 0)`); err != nil {
		t.Fatal(err)
	}
	const writers, each = 4, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				err := db.InTx(t.Context(), func(tx *sqldb.Tx) error {
					if _, err := tx.ExecContext(t.Context(), `SET TRANSACTION ISOLATION LEVEL SERIALIZABLE`); err != nil {
						return err
					}
					var b int
					if err := tx.GetContext(t.Context(), &b, `SELECT b FROM pairs WHERE a = 1`); err != nil {
						return err
					}
					_, err := tx.ExecContext(t.Context(), `UPDATE pairs SET b = $1 WHERE a = 1`, b+1)
					return err
				})
				for sqldb.IsRetryable(err) { // bounded inside; the rest is the caller's
					err = db.InTx(t.Context(), func(tx *sqldb.Tx) error {
						_, err := tx.ExecContext(t.Context(), `UPDATE pairs SET b = b + 1 WHERE a = 1`)
						return err
					})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var b int
	if err := db.GetContext(t.Context(), &b, `SELECT b FROM pairs`); err != nil || b != writers*each {
		t.Errorf("%d, want %d (%v)", b, writers*each, err)
	}
}

func TestLockTimeoutIsRetryable(t *testing.T) {
	url := sqldbtest.PostgresURL(t)
	a := migrated(t, sqldbtest.Open(t, url))
	b := sqldbtest.Open(t, url, sqldb.LockTimeout(20*time.Millisecond))
	if _, err := a.ExecContext(t.Context(), `INSERT INTO pairs VALUES (1, 0)`); err != nil {
		t.Fatal(err)
	}
	update := func(tx *sqldb.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE pairs SET b = b + 1`)
		return err
	}
	err := a.InTx(t.Context(), func(tx *sqldb.Tx) error {
		if err := update(tx); err != nil {
			return err
		}
		if err := b.InTx(t.Context(), update); classOf(err) != (class{retryable: true}) {
			t.Errorf("%+v %v", classOf(err), err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
