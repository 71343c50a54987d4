package postgres_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"hirewire.dev/e2e/postgres"
)

func TestStartGivesAServerThatIsGoneAfterStop(t *testing.T) {
	server, err := postgres.Start(t.Context(), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop) // twice is no harm
	db, err := sql.Open("postgres", server.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var fsync string
	if err := db.QueryRowContext(t.Context(), "SHOW fsync").Scan(&fsync); err != nil || fsync != "off" {
		t.Errorf("SHOW fsync = %q, %v; want off", fsync, err)
	}
	server.Stop()
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("the server still answers after Stop")
	}
}

func TestServerComesBackWithItsData(t *testing.T) {
	server, err := postgres.Start(t.Context(), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	db, err := sql.Open("postgres", server.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE kept AS SELECT 1 AS n"); err != nil {
		t.Fatal(err)
	}
	for name, halt := range map[string]func() error{"crash": server.Crash, "shutdown": server.Shutdown} {
		if err := halt(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := db.PingContext(t.Context()); err == nil {
			t.Errorf("after the %s it still answers", name)
		}
		if err := server.Revive(t.Context()); err != nil {
			t.Fatalf("after the %s: %v", name, err)
		}
		var n int
		if err := db.QueryRowContext(t.Context(), "SELECT n FROM kept").Scan(&n); err != nil || n != 1 {
			t.Errorf("after the %s it has kept %d, %v", name, n, err)
		}
	}

	if err := server.Freeze(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- db.PingContext(context.WithoutCancel(t.Context())) }()
	select {
	case err := <-answered:
		t.Errorf("frozen, it answers: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := server.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("thawed, it does not answer: %v", err)
	}
}
