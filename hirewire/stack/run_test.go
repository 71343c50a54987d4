package stack_test

import (
	"strings"
	"testing"

	"hirewire.dev/hirewire/stack"
)

func TestOneStackAtATimeRunsInAFolder(t *testing.T) {
	cfg := stack.Config{Dir: t.TempDir(), Banks: 1}
	start := func() *stack.Running {
		t.Helper()
		running, err := stack.Start(t.Context(), cfg, stack.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return running
	}
	first := start()
	if _, err := stack.Start(t.Context(), cfg, stack.Options{}); err == nil || !strings.Contains(err.Error(), "another stack runs in "+cfg.Dir) {
		t.Errorf("a second stack in the same folder: error %v", err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := start().Stop(); err != nil {
		t.Fatal(err)
	}
	// One that does not start leaves the folder free.
	if _, err := stack.Start(t.Context(), stack.Config{Dir: cfg.Dir, Banks: -1}, stack.Options{}); err == nil {
		t.Fatal("a stack of -1 banks has started")
	}
	if err := start().Stop(); err != nil {
		t.Fatal(err)
	}
}
