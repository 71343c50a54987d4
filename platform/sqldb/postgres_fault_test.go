package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"testing"
	"time"

	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
	"hirewire.dev/platform/sqldb/sqldbtest/pgproxy"
)

// behindProxy opens a new database directly and through a proxy.
func behindProxy(t *testing.T, opts ...sqldb.Option) (direct, proxied *sqldb.DB, proxy *pgproxy.Proxy, url string) {
	t.Helper()
	url = sqldbtest.PostgresURL(t)
	proxy, err := pgproxy.Start(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	direct = migrated(t, sqldbtest.Open(t, url))
	if _, err := direct.ExecContext(t.Context(), `CREATE TABLE log (what text NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	url = proxy.URL(url)
	return direct, sqldbtest.Open(t, url, opts...), proxy, url
}

func logged(t *testing.T, db *sqldb.DB) int {
	t.Helper()
	var n int
	if err := db.GetContext(t.Context(), &n, `SELECT count(*) FROM log`); err != nil {
		t.Fatal(err)
	}
	return n
}

// lib/pq#939: a naive client's autocommit INSERT runs twice, without an error,
// when the connection drops after the server ran it.
func TestNaiveClientInsertsTwice(t *testing.T) {
	t.Parallel()
	direct, _, proxy, url := behindProxy(t)
	naive, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer naive.Close()
	proxy.Add(pgproxy.Rule{Kind: pgproxy.Complete, Text: "INSERT", N: 1, Action: pgproxy.Cut})
	if _, err := naive.ExecContext(t.Context(), `INSERT INTO log VALUES ('x')`); err != nil {
		t.Fatalf("the driver reports the lost reply now (%v): the guard may be out of date", err)
	}
	if n := logged(t, direct); n != 2 {
		t.Fatalf("%d rows: the proxy does not provoke the fault", n)
	}
}

func TestStatementIsNeverRunTwice(t *testing.T) {
	t.Parallel()
	statements := map[string]func(ctx context.Context, db *sqldb.DB) error{
		"exec": func(ctx context.Context, db *sqldb.DB) error {
			_, err := db.ExecContext(ctx, `INSERT INTO log VALUES ('x')`)
			return err
		},
		"exec with arguments": func(ctx context.Context, db *sqldb.DB) error {
			_, err := db.ExecContext(ctx, `INSERT INTO log VALUES ($1)`, "x")
			return err
		},
		"query": func(ctx context.Context, db *sqldb.DB) error {
			var what string
			return db.GetContext(ctx, &what, `INSERT INTO log VALUES ($1) RETURNING what`, "x")
		},
		"prepared": func(ctx context.Context, db *sqldb.DB) error {
			st, err := db.PrepareContext(ctx, `INSERT INTO log VALUES ($1)`)
			if err != nil {
				return err
			}
			defer st.Close()
			_, err = st.ExecContext(ctx, "x")
			return err
		},
	}
	for name, run := range statements {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct, db, proxy, _ := behindProxy(t)
			proxy.Add(pgproxy.Rule{Kind: pgproxy.Complete, Text: "INSERT", N: 1, Action: pgproxy.Cut})
			err := run(t.Context(), db)
			if !errors.Is(err, sqldb.ErrAmbiguous) || !sqldb.IsUnavailable(err) || sqldb.IsRetryable(err) {
				t.Errorf("lost reply: %v", err)
			}
			if n := logged(t, direct); n != 1 {
				t.Errorf("%d rows, want 1", n)
			}
			if err := run(t.Context(), db); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestCommitOutcomes(t *testing.T) {
	t.Parallel()
	insert := func(ctx context.Context) func(tx *sqldb.Tx) error {
		return func(tx *sqldb.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO log VALUES ($1)`, "x")
			return err
		}
	}
	tests := map[string]struct {
		rule      pgproxy.Rule
		ambiguous bool
		rows      int
	}{
		"reply lost":                   {pgproxy.Rule{Kind: pgproxy.Complete, Text: "COMMIT", N: 1, Action: pgproxy.Cut}, true, 1},
		"commit lost":                  {pgproxy.Rule{Kind: pgproxy.Statement, Text: "COMMIT", N: 1, Action: pgproxy.Cut}, true, 0},
		"lost before the commit":       {pgproxy.Rule{Kind: pgproxy.Statement, Text: "INSERT", N: 1, Action: pgproxy.Cut}, false, 1},
		"lost after the insert":        {pgproxy.Rule{Kind: pgproxy.Complete, Text: "INSERT", N: 1, Action: pgproxy.Cut}, false, 1},
		"lost at begin":                {pgproxy.Rule{Kind: pgproxy.Statement, Text: "BEGIN", N: 1, Action: pgproxy.Cut}, false, 1},
		"lost after begin":             {pgproxy.Rule{Kind: pgproxy.Complete, Text: "BEGIN", N: 1, Action: pgproxy.Cut}, false, 1},
		"nothing lost":                 {pgproxy.Rule{Kind: pgproxy.Complete, Text: "COMMIT"}, false, 1},
		"reply late":                   {pgproxy.Rule{Kind: pgproxy.Complete, Text: "COMMIT", N: 1, Action: pgproxy.Hold}, true, 1},
		"reply swallowed for ever":     {pgproxy.Rule{Kind: pgproxy.Complete, Text: "COMMIT", N: 1, Action: pgproxy.Drop}, true, 1},
		"commit swallowed for ever":    {pgproxy.Rule{Kind: pgproxy.Statement, Text: "COMMIT", N: 1, Action: pgproxy.Drop}, true, 0},
		"statement swallowed for ever": {pgproxy.Rule{Kind: pgproxy.Statement, Text: "INSERT", N: 1, Action: pgproxy.Drop}, false, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct, db, proxy, _ := behindProxy(t)
			proxy.Add(tt.rule)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			if tt.rule.Action == pgproxy.Cut || tt.rule.Action == pgproxy.Pass {
				cancel()
				ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
			}
			defer cancel()
			started := time.Now()
			err := db.InTx(ctx, insert(ctx))
			if d := time.Since(started); d > 2*time.Second {
				t.Errorf("took %v", d)
			}
			hung := tt.rule.Action == pgproxy.Hold || tt.rule.Action == pgproxy.Drop
			if got := errors.Is(err, sqldb.ErrAmbiguous); got != tt.ambiguous {
				t.Errorf("ambiguous %v: %v", got, err)
			}
			if (err == nil) == (tt.ambiguous || hung) {
				t.Errorf("error: %v", err)
			}
			if hung && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("does not tell of the deadline: %v", err)
			}
			if n := logged(t, direct); n != tt.rows {
				t.Errorf("%d rows, want %d", n, tt.rows)
			}
			if err := db.InTx(t.Context(), insert(t.Context())); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// A server that accepts and never replies: every call ends with its context,
// and the pool is whole when the server is back.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	type call func(ctx context.Context, db *sqldb.DB, freeze func()) error
	calls := map[string]call{
		"ready": func(ctx context.Context, db *sqldb.DB, freeze func()) error { freeze(); return db.Ready(ctx) },
		"ping":  func(ctx context.Context, db *sqldb.DB, freeze func()) error { freeze(); return db.PingContext(ctx) },
		"exec": func(ctx context.Context, db *sqldb.DB, freeze func()) error {
			freeze()
			_, err := db.ExecContext(ctx, `INSERT INTO log VALUES ($1)`, "x")
			return err
		},
		"prepare": func(ctx context.Context, db *sqldb.DB, freeze func()) error {
			freeze()
			st, err := db.PrepareContext(ctx, `SELECT 1`)
			if err != nil {
				return err
			}
			defer st.Close()
			return nil
		},
		"prepared": func(ctx context.Context, db *sqldb.DB, freeze func()) error {
			st, err := db.PrepareContext(ctx, `INSERT INTO log VALUES ($1)`)
			if err != nil {
				return err
			}
			defer st.Close()
			freeze()
			_, err = st.ExecContext(ctx, "x")
			return err
		},
		"rows": func(ctx context.Context, db *sqldb.DB, freeze func()) error {
			rows, err := db.QueryContext(ctx, `SELECT repeat('x', 1000) FROM generate_series(1, 100000)`)
			if err != nil {
				return err
			}
			defer rows.Close()
			freeze()
			for rows.Next() {
			}
			return rows.Err()
		},
		"begin": func(ctx context.Context, db *sqldb.DB, freeze func()) error {
			freeze()
			return db.InTx(ctx, func(*sqldb.Tx) error { return nil })
		},
		"in transaction": func(ctx context.Context, db *sqldb.DB, freeze func()) error {
			return db.InTx(ctx, func(tx *sqldb.Tx) error {
				freeze()
				_, err := tx.ExecContext(ctx, `INSERT INTO log VALUES ('x')`)
				return err
			})
		},
		"commit": func(ctx context.Context, db *sqldb.DB, freeze func()) error {
			return db.InTx(ctx, func(*sqldb.Tx) error { freeze(); return nil })
		},
		"new connection": func(ctx context.Context, db *sqldb.DB, freeze func()) error {
			db.SetMaxIdleConns(0)
			freeze()
			return db.Ready(ctx)
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, db, proxy, _ := behindProxy(t, sqldb.MaxOpenConns(1))
			const limit = 300 * time.Millisecond
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			started := time.Now()
			if err := call(ctx, db, proxy.Freeze); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error: %v", err)
			}
			if d := time.Since(started); d > limit+1200*time.Millisecond {
				t.Errorf("took %v", d)
			}
			proxy.Thaw()
			if err := db.Ready(t.Context()); err != nil { // on the pool's only connection
				t.Errorf("afterwards: %v", err)
			}
			if n := db.Stats().InUse; n != 0 {
				t.Errorf("%d connections in use", n)
			}
		})
	}
}

// A caller without a deadline is freed too, some time after the server's own
// limit for a statement has passed.
func TestFrozenServerAndNoDeadline(t *testing.T) {
	t.Parallel()
	_, db, proxy, _ := behindProxy(t, sqldb.StatementTimeout(100*time.Millisecond))
	proxy.Freeze()
	started := time.Now()
	_, err := db.ExecContext(context.WithoutCancel(t.Context()), `INSERT INTO log VALUES ('x')`)
	if !errors.Is(err, sqldb.ErrAmbiguous) || !sqldb.IsUnavailable(err) {
		t.Error(err)
	}
	if d := time.Since(started); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
	proxy.Thaw()
	if err := db.Ready(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestOpenOnASilentServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	started := time.Now()
	_, err = sqldb.Open(ctx, "postgres://u@"+l.Addr().String()+"/db")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if d := time.Since(started); d > time.Second {
		t.Errorf("took %v", d)
	}
}

func TestCancelledStatementEndsOnTheServer(t *testing.T) {
	t.Parallel()
	db := sqldbtest.OpenPostgres(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	started := time.Now()
	_, err := db.ExecContext(ctx, `SELECT pg_sleep(60)`)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sqldb.ErrAmbiguous) || sqldb.IsUnavailable(err) {
		t.Error(err)
	}
	if d := time.Since(started); d > time.Second {
		t.Errorf("took %v", d)
	}
	var n int
	if err := db.GetContext(t.Context(), &n,
		`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()`); err != nil || n != 0 {
		t.Errorf("%d still run (%v)", n, err)
	}
}

func TestStatementTimeoutIsUnavailable(t *testing.T) {
	t.Parallel()
	db := sqldbtest.Open(t, sqldbtest.PostgresURL(t), sqldb.StatementTimeout(50*time.Millisecond))
	_, err := db.ExecContext(t.Context(), `SELECT pg_sleep(60)`)
	if !sqldb.IsUnavailable(err) || errors.Is(err, sqldb.ErrAmbiguous) {
		t.Error(err)
	}
}

// Connections that died while idle cost nobody an error.
func TestIdleConnectionsThatDied(t *testing.T) {
	direct, db, proxy, _ := behindProxy(t)
	kills := map[string]func(){
		"cut": proxy.CutAll,
		"terminated": func() {
			if _, err := direct.ExecContext(t.Context(),
				`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
				t.Error(err)
			}
		},
	}
	for name, kill := range kills {
		t.Run(name, func(t *testing.T) {
			conns := make([]*sql.Conn, 4)
			for i := range conns {
				var err error
				if conns[i], err = db.Conn(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range conns {
				_ = c.Close()
			}
			before := logged(t, direct)
			kill()
			time.Sleep(50 * time.Millisecond) // the farewell takes a moment to arrive; nothing tells when
			for range len(conns) {
				if _, err := db.ExecContext(t.Context(), `INSERT INTO log VALUES ('x')`); err != nil {
					t.Error(err)
				}
			}
			if n := logged(t, direct) - before; n != len(conns) {
				t.Errorf("%d rows, want %d", n, len(conns))
			}
		})
	}
}

func TestBackendKilledInTransaction(t *testing.T) {
	t.Parallel()
	direct, db, _, _ := behindProxy(t)
	runs := 0
	err := db.InTx(t.Context(), func(tx *sqldb.Tx) error {
		runs++
		if _, err := tx.ExecContext(t.Context(), `INSERT INTO log VALUES ('x')`); err != nil {
			return err
		}
		if runs == 1 {
			var pid int
			if err := tx.GetContext(t.Context(), &pid, `SELECT pg_backend_pid()`); err != nil {
				return err
			}
			if _, err := direct.ExecContext(t.Context(), `SELECT pg_terminate_backend($1, 5000)`, pid); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(t.Context(), `INSERT INTO log VALUES ('y')`)
		return err
	})
	if err != nil || runs != 2 {
		t.Errorf("%d runs: %v", runs, err)
	}
	if n := logged(t, direct); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}
