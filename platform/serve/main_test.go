package serve_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/settings"
	"hirewire.dev/platform/telemetry"
)

// TestMainProgram is the program of the tests below, not a test.
func TestMainProgram(*testing.T) {
	mode := os.Getenv("SERVE_MAIN")
	if mode == "" {
		return
	}
	var cfg struct {
		Mode string `env:"SERVE_MAIN" default:"clean" enum:"clean,error,stuck,setting" help:"What to do."`
	}
	serve.Main(serve.Program{
		Name: "test-svc", Settings: &cfg, Log: func() telemetry.LogConfig { return telemetry.LogConfig{} },
		Run: func(ctx context.Context, log *slog.Logger) error {
			fmt.Println("started")
			log.Info("hello")
			switch cfg.Mode {
			case "error":
				return errors.New("the disk is full")
			case "setting":
				return errors.Join(settings.Wrong("TEST_ROLE", "there is no such role"), errors.New("and closing failed"))
			case "stuck":
				select {}
			}
			<-ctx.Done()
			return nil
		},
	}, nil)
}

func TestMainEndsOnSignals(t *testing.T) {
	for _, tt := range []struct {
		mode    string
		signals []os.Signal
		status  int
		says    string
	}{
		{"clean", []os.Signal{syscall.SIGTERM}, 0, `"msg":"hello","service":"test-svc"`},
		{"clean", []os.Signal{syscall.SIGINT}, 0, ""},
		{"error", nil, 1, "test-svc: the disk is full\n"},
		{"setting", nil, 2, "test-svc: TEST_ROLE (--test-role): there is no such role\n"},
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
