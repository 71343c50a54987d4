package postgres_test

import (
	"database/sql"
	"testing"

	"hirewire.dev/e2e/postgres"
)

func TestStartGivesAServerThatIsGoneAfterStop(t *testing.T) {
	server, err := postgres.Start(t.Context(), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
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
