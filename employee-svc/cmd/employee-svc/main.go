// Command employee-svc runs the employee service: see --help.
package main

import (
	"context"
	"log/slog"
	"os"

	employeesvc "hirewire.dev/employee-svc"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/telemetry"
)

func main() {
	var cfg employeesvc.Config
	serve.Main(serve.Program{
		Name:     "employee-svc",
		About:    "Keeps employees, and tells the notifier of every change.",
		Settings: &cfg,
		Log:      func() telemetry.LogConfig { return telemetry.LogConfig{Level: cfg.LogLevel, Format: cfg.LogFormat} },
		Run: func(ctx context.Context, log *slog.Logger) error {
			service, err := employeesvc.New(ctx, cfg, log)
			if err != nil {
				return err
			}
			return service.Run(ctx)
		},
	}, os.Args[1:])
}
