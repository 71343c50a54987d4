package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"hirewire.dev/hirewire/internal/pki"
)

// Process is one running service in a process of its own, which can be killed and started again.
type Process struct {
	Service
	// Command makes the command that runs the service; its environment is set by Start.
	Command func() *exec.Cmd
	// LogDir takes NAME.log, to which every run appends.
	LogDir string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start runs the service. It does not wait until it is ready.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(filepath.Join(p.LogDir, p.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own handle
	cmd := p.Command()
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"))
	for name, value := range p.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for us; we end it
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	p.cmd, p.exited = cmd, exited
	return nil
}

// PID is the process's, or 0 when it was never started.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Signal sends a signal, and for one that ends the process waits until it has ended. ExitCode is then known.
func (p *Process) Signal(signal syscall.Signal) error {
	p.mu.Lock()
	cmd, exited := p.cmd, p.exited
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if signal != syscall.SIGKILL && signal != syscall.SIGTERM && signal != syscall.SIGINT {
		return nil
	}
	select {
	case <-exited:
		return nil
	case <-time.After(20 * time.Second):
		return fmt.Errorf("%s does not end on %s", p.Name, signal)
	}
}

// ExitCode is that of the last run, -1 if a signal ended it or it still runs.
func (p *Process) ExitCode() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.cmd.ProcessState == nil {
		return -1
	}
	return p.cmd.ProcessState.ExitCode()
}

// AwaitReady waits until the service says that it is ready.
func (p *Process) AwaitReady(ctx context.Context, caFile string) error {
	return awaitReady(ctx, p.Service, caFile, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended with status %d: see %s", p.Name, p.cmd.ProcessState.ExitCode(), filepath.Join(p.LogDir, p.Name+".log"))
		default:
			return nil
		}
	})
}

func awaitReady(ctx context.Context, s Service, caFile string, alive func() error) error {
	trust, err := pki.Trust(caFile)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: trust}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Second}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error // before the time was over
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Ready, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err == nil {
			said, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(said))
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if ended := alive(); ended != nil {
			return ended
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("%s is not ready: %w", s.Name, last)
		case <-tick.C:
		}
	}
}
