package serve

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// StopLimit is the longest that a process takes to stop after the first signal.
const StopLimit = 10 * time.Second

// Main runs a service until SIGTERM or SIGINT and ends the process: status 0 after a clean stop, 1 after an error, which it
// prints. A second signal ends it at once with status 1, and so does a stop that takes longer than StopLimit: everything
// that matters is committed by then, or will be repeated.
func Main(run func(ctx context.Context) error) {
	Prepare()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	os.Exit(runMain(run, signals, os.Stderr))
}

func runMain(run func(context.Context) error, signals <-chan os.Signal, out io.Writer) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	var late <-chan time.Time
	for {
		select {
		case err := <-done:
			if err != nil {
				fmt.Fprintln(out, "error:", err)
				return 1
			}
			return 0
		case <-signals:
			if late != nil {
				fmt.Fprintln(out, "second signal: ending at once")
				return 1
			}
			cancel()
			timer := time.NewTimer(StopLimit)
			defer timer.Stop()
			late = timer.C
		case <-late:
			fmt.Fprintln(out, "the stop took too long: ending")
			return 1
		}
	}
}
