// Package programs builds the services as they are shipped and runs whole stacks of them, each service in a process of its
// own, for tests that kill, stop and freeze.
package programs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hirewire.dev/e2e/postgres"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

// Env is the environment variable that names a folder in which the programs are already. They are built where it is not set.
const Env = "HIREWIRE_PROGRAMS"

var build = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv(Env); dir != "" {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "hirewire-programs-")
	if err != nil {
		return "", err
	}
	root, err := exec.Command("go", "env", "GOWORK").Output()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir, "./employee-svc/cmd/employee-svc", "./notifier/cmd/notifier", "./bank-svc/cmd/bank-svc", "./hirewire")
	cmd.Dir = filepath.Dir(strings.TrimSpace(string(root)))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return dir, nil
})

// Remove deletes the programs. TestMain of a package that builds them calls it at the end.
func Remove() {
	if dir, err := build(); err == nil && os.Getenv(Env) == "" {
		os.RemoveAll(dir)
	}
}

// Dir is the folder of the programs, which are built on first use.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Engines runs the test on SQLite and, where there is a server, on PostgreSQL. databaseURL is empty for SQLite.
func Engines(t *testing.T, test func(t *testing.T, databaseURL string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, "") })
	t.Run("postgres", func(t *testing.T) { test(t, PostgresURL(t)) })
}

// PostgresURL names the server for tests. Without one the test is skipped, loudly: make test brings one.
func PostgresURL(t testing.TB) string {
	t.Helper()
	url := os.Getenv(postgres.Env)
	if url == "" {
		sqldbtest.LeaveOut(t, "PostgreSQL: "+postgres.Env+" is not set (make test sets it)")
	}
	return url
}

// Stack is a running stack whose services are processes.
type Stack struct {
	Description *stack.Description
	Clients     *stack.Clients
	// Processes by name: employee-svc, notifier-1, bank-2.
	Processes map[string]*stack.Process

	t testing.TB
}

// Start plans a stack, starts every service of it and waits until all subscriptions are active. It is stopped, and its
// schemas are dropped, when the test ends.
func Start(t testing.TB, cfg stack.Config) *Stack {
	t.Helper()
	ctx := t.Context()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	plan, err := stack.NewPlan(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.CreateSchemas(ctx, cfg.DatabaseURL); err != nil {
		t.Fatal(err)
	}
	s := &Stack{Description: &plan.Description, Processes: map[string]*stack.Process{}, t: t}
	t.Cleanup(func() {
		s.stop()
		if err := plan.DropSchemas(context.Background(), cfg.DatabaseURL); err != nil {
			t.Errorf("drop the schemas: %v", err)
		}
	})
	bin := Dir(t)
	for _, service := range plan.Services {
		p := &stack.Process{Service: service, LogDir: cfg.Dir, Command: func() *exec.Cmd { return exec.Command(filepath.Join(bin, service.Kind)) }}
		s.Processes[service.Name] = p
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range s.Processes {
		if err := p.AwaitReady(ctx, plan.Description.CAFile); err != nil {
			s.logs()
			t.Fatal(err)
		}
	}
	if s.Clients, err = plan.Description.Dial(); err != nil {
		t.Fatal(err)
	}
	if err := s.Clients.AwaitSubscriptions(ctx, &plan.Description); err != nil {
		s.logs()
		t.Fatal(err)
	}
	return s
}

func (s *Stack) stop() {
	var wait sync.WaitGroup
	for _, p := range s.Processes {
		wait.Go(func() {
			_ = p.Signal(syscall.SIGCONT)
			if err := p.Signal(syscall.SIGTERM); err != nil {
				s.t.Error(err)
				_ = p.Signal(syscall.SIGKILL)
			}
		})
	}
	wait.Wait()
	if s.Clients != nil {
		_ = s.Clients.Close()
	}
	if s.t.Failed() {
		s.logs()
	}
}

// logs shows the last words of every service.
func (s *Stack) logs() {
	for name, p := range s.Processes {
		data, _ := os.ReadFile(filepath.Join(p.LogDir, name+".log"))
		s.t.Logf("--- %s\n%s", name, data[max(0, len(data)-3000):])
	}
}

// HTTPClient trusts the authority of a stack.
func HTTPClient(t testing.TB, caFile string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}
