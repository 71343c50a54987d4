package main

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hirewire.dev/hirewire/internal/verdict"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

func TestDemoStaysUntilItIsInterruptedOrItsStackEnds(t *testing.T) {
	running, err := stack.Start(t.Context(), stack.Config{Dir: t.TempDir(), Banks: 1}, stack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&demoCommand{}).stay(ctx, running, verdict.Verdict{}); err != nil {
		t.Errorf("interrupted: %v", err)
	}
	if err := running.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := (&demoCommand{}).stay(t.Context(), running, verdict.Verdict{}); err == nil {
		t.Error("the stack has ended, and that is no error")
	}
}

// The database goes while the demo is up, so that it cannot clean up after itself.
func TestDemoFailsWhenItsStackDoesNotStopCleanly(t *testing.T) {
	database := sqldbtest.PostgresURL(t)
	ready := filepath.Join(t.TempDir(), "ready.json")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- (&demoCommand{Banks: 1, DatabaseURL: postgresURL(database), ReadyFile: ready, LogLevel: "off"}).Run(ctx)
	}()
	for _, err := os.Stat(ready); err != nil; _, err = os.Stat(ready) {
		select {
		case err := <-ended:
			t.Fatalf("the demo ended before it was ready: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	name, _, _ := strings.Cut(path.Base(database), "?")
	server := sqldbtest.Open(t, os.Getenv(sqldbtest.PostgresEnv))
	if _, err := server.ExecContext(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("error %v, want why it did not stop cleanly", err)
	}
}
