package pgproxy_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
	"hirewire.dev/platform/sqldb/sqldbtest/pgproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) (*sqldb.DB, *pgproxy.Proxy) {
	t.Helper()
	url := sqldbtest.PostgresURL(t)
	proxy, err := pgproxy.Start(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	return sqldbtest.Open(t, proxy.URL(url)), proxy
}

func TestCounts(t *testing.T) {
	db, proxy := start(t)
	rules := map[string]struct {
		*pgproxy.Trigger
		want int
	}{
		"parsed":     {proxy.Add(pgproxy.Rule{Kind: pgproxy.Parse, Text: "select $1"}), 2}, // one of them by name
		"executed":   {proxy.Add(pgproxy.Rule{Kind: pgproxy.Statement, Text: "SELECT $1"}), 4},
		"simple":     {proxy.Add(pgproxy.Rule{Kind: pgproxy.Statement, Text: "CREATE TABLE"}), 1},
		"completed":  {proxy.Add(pgproxy.Rule{Kind: pgproxy.Complete, Text: "INSERT 0 2"}), 1},
		"committed":  {proxy.Add(pgproxy.Rule{Kind: pgproxy.Complete, Text: "COMMIT"}), 1},
		"none":       {proxy.Add(pgproxy.Rule{Kind: pgproxy.Complete, Text: "DELETE"}), 0},
		"rolledback": {proxy.Add(pgproxy.Rule{Kind: pgproxy.Statement, Text: "ROLLBACK"}), 0},
	}
	ctx := t.Context()
	if _, err := db.ExecContext(ctx, `CREATE TABLE t (n int)`); err != nil {
		t.Fatal(err)
	}
	st, err := db.PrepareContext(ctx, `SELECT $1::int`)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for range 3 {
		if _, err := st.ExecContext(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.ExecContext(ctx, `SELECT $1::int`, 1); err != nil {
		t.Fatal(err)
	}
	if err := db.InTx(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO t VALUES ($1), ($2)`, 1, 2)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for name, r := range rules {
		if n := r.Count(); n != r.want {
			t.Errorf("%s %d times, want %d", name, n, r.want)
		}
	}
}

func TestHoldAndRelease(t *testing.T) {
	db, proxy := start(t)
	hits := 0
	held := proxy.Add(pgproxy.Rule{Kind: pgproxy.Statement, Text: "SELECT 'held'", N: 2, Action: pgproxy.Hold, Hit: func() { hits++ }})
	query := func() error {
		_, err := db.ExecContext(t.Context(), `SELECT 'held'`)
		return err
	}
	if err := query(); err != nil { // the first passes
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- query() }()
	if err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("not held: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	held.Release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := query(); err != nil || hits != 1 {
		t.Errorf("%d hits: %v", hits, err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	_, proxy := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := proxy.Add(pgproxy.Rule{Kind: pgproxy.Parse}).Wait(ctx); err == nil {
		t.Error("a hit without a message")
	}
}

// Closing frees what is held and frozen.
func TestCloseWhileHeldAndFrozen(t *testing.T) {
	db, proxy := start(t)
	held := proxy.Add(pgproxy.Rule{Kind: pgproxy.Statement, Text: "SELECT 'held'", Action: pgproxy.Hold})
	done := make(chan error, 2)
	go func() { _, err := db.ExecContext(t.Context(), `SELECT 'held'`); done <- err }()
	if err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy.Freeze()
	go func() { _, err := db.ExecContext(t.Context(), `SELECT 'frozen'`); done <- err }()
	if err := proxy.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-done; !sqldb.IsUnavailable(err) {
			t.Error(err)
		}
	}
}

func TestDoneNamesTheStatement(t *testing.T) {
	db, proxy := start(t)
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE t (n int)`); err != nil {
		t.Fatal(err)
	}
	done := proxy.Add(pgproxy.Rule{Kind: pgproxy.Done, Text: "UPDATE t"})
	for _, statement := range []string{`INSERT INTO t VALUES (1)`, `UPDATE t SET n = 2`, `SELECT n FROM t`, `UPDATE t SET n = 3`} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if n := done.Count(); n != 2 {
		t.Errorf("counted %d updates that were done, want 2", n)
	}
}
