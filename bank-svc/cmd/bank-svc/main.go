// Command bank-svc runs one bank: see --help.
package main

import (
	"context"
	"log/slog"
	"os"

	banksvc "hirewire.dev/bank-svc"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/telemetry"
)

func main() {
	var cfg banksvc.Config
	serve.Main(serve.Program{
		Name:     "bank-svc",
		About:    "One bank: receives webhooks, keeps accounts, reconciles them.",
		Settings: &cfg,
		Log:      func() telemetry.LogConfig { return telemetry.LogConfig{Level: cfg.LogLevel, Format: cfg.LogFormat} },
		Run: func(ctx context.Context, log *slog.Logger) error {
			service, err := banksvc.New(ctx, cfg, log)
			if err != nil {
				return err
			}
			return service.Run(ctx)
		},
	}, os.Args[1:])
}
