package sqldb_test

import (
	"context"
	"testing"
	"time"

	"hirewire.dev/platform/sqldb/sqldbtest"
)

func TestListen(t *testing.T) {
	direct, db, proxy, _ := behindProxy(t)
	ctx, cancel := context.WithCancel(t.Context())
	woken := make(chan string, 10)
	ended := make(chan error, 1)
	go func() { ended <- db.Listen(ctx, "Work to do", func(payload string) { woken <- payload }) }()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-woken:
			if got != want {
				t.Errorf("woken by %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("not woken by %q", want)
		}
	}
	notify := func(payload string) {
		t.Helper()
		if _, err := direct.ExecContext(t.Context(), `SELECT pg_notify($1, $2)`, "Work to do", payload); err != nil {
			t.Fatal(err)
		}
	}
	expect("")
	notify("one")
	expect("one")
	proxy.CutAll()
	expect("") // connected again
	notify("two")
	expect("two")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestListenOnSQLiteEndsWithItsContext(t *testing.T) {
	db := sqldbtest.OpenSQLite(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Listen(ctx, "x", func(string) { t.Error("woken") }); err != nil {
		t.Error(err)
	}
}

func TestListenWithoutAServerEndsWithItsContext(t *testing.T) {
	_, db, proxy, _ := behindProxy(t)
	if err := proxy.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := db.Listen(ctx, "x", func(string) { t.Error("woken") }); err != nil {
		t.Error(err)
	}
}
