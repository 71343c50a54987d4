// Command notifier runs the notifier service. "notifier rewrap" seals the stored secrets anew with the present master key.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"hirewire.dev/notifier"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/settings"
	"hirewire.dev/platform/telemetry"
)

const description = `Takes events in and delivers them as signed webhooks. "notifier rewrap" seals the stored secrets anew with the present master key, and ends.`

func main() {
	args := os.Args[1:]
	rewrap := len(args) > 0 && args[0] == "rewrap"
	if rewrap {
		args = args[1:]
	}
	var cfg notifier.Config
	if err := settings.Parse(&cfg, args, settings.Program("notifier", description)); err != nil {
		os.Exit(settings.ExitCode("notifier", err, os.Stderr))
	}
	serve.Main(func(ctx context.Context) error {
		if rewrap {
			n, err := notifier.Rewrap(ctx, cfg)
			if err != nil {
				return err
			}
			fmt.Printf("sealed %d secrets anew\n", n)
			return nil
		}
		return run(ctx, cfg)
	})
}

// logFlush is how long the last lines of the log may take.
const logFlush = time.Second

func run(ctx context.Context, cfg notifier.Config) error {
	sink := telemetry.NewSink(os.Stderr)
	defer func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), logFlush)
		defer cancel()
		_ = sink.Close(limit) // whoever reads the log is gone
	}()
	log, err := telemetry.NewLogger(sink, telemetry.LogConfig{Level: cfg.LogLevel, Format: cfg.LogFormat})
	if err != nil {
		return err
	}
	s, err := notifier.New(ctx, cfg, log)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
