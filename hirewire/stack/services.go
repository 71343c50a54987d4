package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	banksvc "hirewire.dev/bank-svc"
	employeesvc "hirewire.dev/employee-svc"
	"hirewire.dev/notifier"
	"hirewire.dev/platform/settings"
)

// runner is what every service is, once it is made.
type runner interface {
	Run(ctx context.Context) error
}

// newService makes a service of this process from the environment that a process of its own would have.
func newService(ctx context.Context, s Service, log *slog.Logger) (runner, error) {
	switch s.Kind {
	case "employee-svc":
		return configured(ctx, s, log, employeesvc.New)
	case "notifier":
		return configured(ctx, s, log, notifier.New)
	case "bank-svc":
		return configured(ctx, s, log, banksvc.New)
	default:
		return nil, fmt.Errorf("%q is no service", s.Kind)
	}
}

func configured[C any, S runner](ctx context.Context, s Service, log *slog.Logger, create func(context.Context, C, *slog.Logger) (S, error)) (runner, error) {
	var cfg C
	lookup := func(name string) (string, bool) { value, found := s.Env[name]; return value, found }
	if err := settings.Parse(&cfg, nil, settings.Lookup(lookup), settings.Output(io.Discard)); err != nil {
		return nil, err
	}
	return create(ctx, cfg, log)
}

// RunService runs one service in this process, as its own program does, until ctx ends.
func RunService(ctx context.Context, s Service, log *slog.Logger) error {
	service, err := newService(ctx, s, log)
	if err != nil {
		return errors.Join(fmt.Errorf("start %s", s.Kind), err)
	}
	return service.Run(ctx)
}
