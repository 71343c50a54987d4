package main

import (
	"context"
	"log/slog"
	"os"
	"strings"

	"hirewire.dev/hirewire/stack"
)

// runCommand runs one service, configured by the environment alone. The bench starts itself with it.
type runCommand struct {
	Kind string `arg:"" enum:"employee-svc,notifier,bank-svc"`
}

func (c *runCommand) Run(ctx context.Context) error {
	env := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return stack.RunService(ctx, stack.Service{Name: c.Kind, Kind: c.Kind, Env: env}, log)
}
