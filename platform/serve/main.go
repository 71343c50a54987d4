package serve

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"hirewire.dev/platform/settings"
	"hirewire.dev/platform/telemetry"
)

const (
	// StopLimit is the longest that a process takes to stop after the first signal.
	StopLimit = 10 * time.Second
	// flushLimit is how long the last log lines and spans may take.
	flushLimit = time.Second
)

// Program is a service as a process of its own.
type Program struct {
	// Name and About are what --help says; Name is also in every log line and every error.
	Name, About string
	// Settings points to what settings.Parse fills.
	Settings any
	// Log tells, once Settings are filled, what to log.
	Log func() telemetry.LogConfig
	// Run is the service, until ctx ends.
	Run func(ctx context.Context, log *slog.Logger) error
}

// Main runs a program with the arguments that follow its name, until SIGTERM or SIGINT, and ends the process: status 0 after
// a clean stop; settings.ExitUsage for settings that are wrong, whoever finds out; 1 after any other error. It prints the
// error. A second signal ends the process at once with status 1, and so does a stop that takes longer than StopLimit:
// everything that matters is committed by then, or will be repeated.
func Main(p Program, args []string) {
	if err := settings.Parse(p.Settings, args, settings.Program(p.Name, p.About)); err != nil {
		os.Exit(settings.ExitCode(p.Name, err, os.Stderr))
	}
	Prepare()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	os.Exit(p.main(signals, os.Stderr))
}

func (p Program) main(signals <-chan os.Signal, out io.Writer) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.run(ctx, out) }()
	var late <-chan time.Time
	for {
		select {
		case err := <-done:
			if err != nil {
				return settings.ExitCode(p.Name, err, out)
			}
			return 0
		case <-signals:
			if late != nil {
				fmt.Fprintln(out, p.Name+": second signal: ending at once")
				return 1
			}
			cancel()
			timer := time.NewTimer(StopLimit)
			defer timer.Stop()
			late = timer.C
		case <-late:
			fmt.Fprintln(out, p.Name+": the stop took too long: ending")
			return 1
		}
	}
}

func (p Program) run(ctx context.Context, out io.Writer) error {
	log, end, err := telemetry.Start(ctx, p.Name, p.Log(), out)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushLimit)
		defer cancel()
		end(ctx)
	}()
	return p.Run(ctx, log)
}
