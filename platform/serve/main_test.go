package serve_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"hirewire.dev/platform/serve"
)

// TestMainProgram is the program of the tests below, not a test.
func TestMainProgram(*testing.T) {
	mode := os.Getenv("SERVE_MAIN")
	if mode == "" {
		return
	}
	serve.Main(func(ctx context.Context) error {
		fmt.Println("started")
		switch mode {
		case "error":
			return errors.New("EMPLOYEE_HTTP_ADDR is missing")
		case "stuck":
			select {}
		}
		<-ctx.Done()
		return nil
	})
}

func TestMainEndsOnSignals(t *testing.T) {
	for _, tt := range []struct {
		mode    string
		signals []os.Signal
		status  int
		says    string
	}{
		{"clean", []os.Signal{syscall.SIGTERM}, 0, ""},
		{"clean", []os.Signal{syscall.SIGINT}, 0, ""},
		{"error", nil, 1, "EMPLOYEE_HTTP_ADDR is missing"},
		{"stuck", []os.Signal{syscall.SIGTERM, syscall.SIGTERM}, 1, "second signal"},
		{"stuck", []os.Signal{syscall.SIGINT, syscall.SIGTERM}, 1, "second signal"},
	} {
		t.Run(fmt.Sprint(tt.mode, tt.signals), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMainProgram$")
			cmd.Env = append(os.Environ(), "SERVE_MAIN="+tt.mode, "GORACE=atexit_sleep_ms=0")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if s := bufio.NewScanner(out); !s.Scan() || s.Text() != "started" {
				t.Fatalf("%q", s.Text())
			}
			began := time.Now()
			for i, s := range tt.signals {
				if i > 0 {
					time.Sleep(100 * time.Millisecond) // two equal signals at once would be one
				}
				_ = cmd.Process.Signal(s)
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tt.status || !strings.Contains(stderr.String(), tt.says) {
				t.Errorf("status %d: %s", got, stderr.String())
			}
			if took := time.Since(began); took > 1100*time.Millisecond {
				t.Errorf("took %v", took)
			}
		})
	}
}
