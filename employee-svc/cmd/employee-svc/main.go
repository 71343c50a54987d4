// Command employee-svc runs the employee service: see --help.
package main

import (
	"context"
	"errors"
	"os"
	"time"

	employeesvc "hirewire.dev/employee-svc"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/settings"
	"hirewire.dev/platform/telemetry"
)

type flags struct {
	employeesvc.Config

	LogLevel  string `env:"EMPLOYEE_LOG_LEVEL" default:"info" enum:"debug,info,warn,error" group:"Logs" help:"The least level to log."`
	LogFormat string `env:"EMPLOYEE_LOG_FORMAT" default:"json" enum:"json,text" group:"Logs" help:"json or text."`
}

func main() {
	var cfg flags
	if err := settings.Parse(&cfg, os.Args[1:], settings.Program("employee-svc", "Keeps employees, and tells the notifier of every change.")); err != nil {
		os.Exit(settings.ExitCode("employee-svc", err, os.Stderr))
	}
	serve.Main(func(ctx context.Context) error { return run(ctx, cfg) })
}

func run(ctx context.Context, cfg flags) (err error) {
	sink := telemetry.NewSink(os.Stderr)
	defer func() { err = errors.Join(err, closing(ctx, sink.Close)) }()
	log, err := telemetry.NewLogger(sink, telemetry.LogConfig{Level: cfg.LogLevel, Format: cfg.LogFormat})
	if err != nil {
		return err
	}
	_, stop, err := telemetry.StartTracing(ctx, "employee-svc", log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing(ctx, stop)) }()
	service, err := employeesvc.New(ctx, cfg.Config, log)
	if err != nil {
		return err
	}
	return service.Run(ctx)
}

// closing bounds what runs after the service has stopped.
func closing(ctx context.Context, end func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return end(ctx)
}
