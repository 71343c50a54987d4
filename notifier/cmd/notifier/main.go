// Command notifier runs the notifier service. "notifier rewrap" seals the stored secrets anew with the present master key.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"hirewire.dev/notifier"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/telemetry"
)

const about = `Takes events in and delivers them as signed webhooks. "notifier rewrap" seals the stored secrets anew with the present master key, and ends.`

func main() {
	var cfg notifier.Config
	program := serve.Program{
		Name:     "notifier",
		About:    about,
		Settings: &cfg,
		Log:      func() telemetry.LogConfig { return telemetry.LogConfig{Level: cfg.LogLevel, Format: cfg.LogFormat} },
		Run: func(ctx context.Context, log *slog.Logger) error {
			service, err := notifier.New(ctx, cfg, log)
			if err != nil {
				return err
			}
			return service.Run(ctx)
		},
	}
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "rewrap" {
		args = args[1:]
		program.Run = func(ctx context.Context, _ *slog.Logger) error {
			n, err := notifier.Rewrap(ctx, cfg)
			if err != nil {
				return err
			}
			fmt.Printf("sealed %d secrets anew\n", n)
			return nil
		}
	}
	serve.Main(program, args)
}
