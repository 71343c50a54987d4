package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
)

// Options say how a stack is run. The zero value runs all of it in this process, without logs.
type Options struct {
	// Kinds are the services to run; empty: all of the plan.
	Kinds []string
	// Command, when set, runs each service in a process of its own: it makes the command for a kind.
	Command func(kind string) *exec.Cmd
	// Log takes the logs of services in this process.
	Log *slog.Logger
	// KeepSchemas leaves the schemas in the database when the stack stops.
	KeepSchemas bool
}

// Running is a stack that runs.
type Running struct {
	Plan *Plan
	// PIDs are the processes by the service's name; services in this process have its own.
	PIDs map[string]int

	stop   func() error
	unlock func() error
	done   chan struct{}
	err    error
}

// Done is closed when the stack has ended, whether it was stopped or failed.
func (r *Running) Done() <-chan struct{} { return r.done }

// Stop ends every service and waits for it. It returns what went wrong, then or before.
func (r *Running) Stop() error {
	err := r.stop()
	<-r.done
	return errors.Join(r.err, err, r.unlock())
}

// Start runs the services of a plan for cfg and returns when each of them is ready. The stack outlives ctx; Stop ends it.
// In a folder there can be one at a time.
func Start(ctx context.Context, cfg Config, opts Options) (_ *Running, err error) {
	unlock, err := lock(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unlock())
		}
	}()
	plan, err := NewPlan(cfg)
	if err != nil {
		return nil, err
	}
	if err := plan.CreateSchemas(ctx, cfg.DatabaseURL); err != nil {
		return nil, err
	}
	r := &Running{Plan: plan, PIDs: map[string]int{}, unlock: unlock, done: make(chan struct{})}
	var services []Service
	for _, s := range plan.Services {
		if len(opts.Kinds) == 0 || slices.Contains(opts.Kinds, s.Kind) {
			services = append(services, s)
		}
	}
	if opts.Command != nil {
		err = r.startProcesses(services, cfg.Dir, opts.Command)
	} else {
		err = r.startHere(ctx, services, opts.Log)
	}
	inner := r.stop
	r.stop = sync.OnceValue(func() error {
		err := inner()
		if !opts.KeepSchemas {
			err = errors.Join(err, plan.DropSchemas(context.WithoutCancel(ctx), cfg.DatabaseURL))
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	for _, s := range services {
		err := awaitReady(ctx, s, plan.Description.CAFile, func() error {
			select {
			case <-r.done:
				return errors.Join(fmt.Errorf("%s ended before it was ready", s.Name), r.err)
			default:
				return nil
			}
		})
		if err != nil {
			return nil, errors.Join(err, r.Stop())
		}
	}
	return r, nil
}

func (r *Running) startProcesses(services []Service, dir string, command func(kind string) *exec.Cmd) error {
	var processes []*Process
	r.stop = func() error {
		defer close(r.done)
		var errs []error
		for _, p := range slices.Backward(processes) {
			errs = append(errs, p.Signal(syscall.SIGTERM))
		}
		return errors.Join(errs...)
	}
	for _, s := range services {
		p := &Process{Service: s, LogDir: dir, Command: func() *exec.Cmd { return command(s.Kind) }}
		if err := p.Start(); err != nil {
			return err
		}
		processes = append(processes, p)
		r.PIDs[s.Name] = p.PID()
	}
	return nil
}

// startHere runs the services in this process. When one fails, all end.
func (r *Running) startHere(ctx context.Context, services []Service, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = func() error { cancel(); return nil }
	var wait sync.WaitGroup
	errs := make([]error, len(services))
	var startErr error
	for i, s := range services {
		service, err := newService(runCtx, s, log.With("service", s.Name))
		if err != nil {
			startErr = fmt.Errorf("%s: %w", s.Name, err)
			cancel()
			break
		}
		r.PIDs[s.Name] = os.Getpid()
		wait.Go(func() {
			if err := service.Run(runCtx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", s.Name, err)
			}
			cancel()
		})
	}
	go func() {
		wait.Wait()
		r.err = errors.Join(errs...)
		close(r.done)
	}()
	return startErr
}
