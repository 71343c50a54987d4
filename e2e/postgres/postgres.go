// Package postgres starts a throw-away PostgreSQL for tests and benchmarks: from the machine's own binaries, else with
// Docker, else, on Debian as root, from the package that it installs.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	_ "github.com/lib/pq" // the driver that Ready connects with
)

// Env is the environment variable that names the server to the tests.
const Env = "TEST_POSTGRES_DSN"

// Options say what kind of server is wanted. The zero value is a fast one for tests.
type Options struct {
	// Durable leaves fsync and synchronous_commit on, as in production. Benchmarks need it.
	Durable bool
}

// Server is a running PostgreSQL that belongs to this process.
type Server struct {
	// DSN connects as the superuser.
	DSN string
	// Source says where it came from, for people.
	Source string

	host host
}

// host is where a server runs.
type host interface {
	// halt ends the server, at once or after it has ended its sessions, and waits until it has. Its data stay.
	halt(atOnce bool) error
	// start runs it again on its data, on the same address, and returns without waiting until it answers. alive says
	// whether it has ended since.
	start() (alive func() error, err error)
	// freeze stops all its processes where they are, or lets them go on.
	freeze(frozen bool) error
	// remove ends it and deletes its data.
	remove()
}

// Stop ends the server and removes its data.
func (s *Server) Stop() { s.host.remove() }

// Crash ends the server without a word to its clients, as pg_ctl stop -m immediate does. Its data stay: see Revive.
func (s *Server) Crash() error { return s.host.halt(true) }

// Shutdown ends the server as pg_ctl stop -m fast does: it ends its sessions, and then itself. Its data stay: see Revive.
func (s *Server) Shutdown() error { return s.host.halt(false) }

// Revive starts the server again after Crash or Shutdown and waits until it answers.
func (s *Server) Revive(ctx context.Context) error {
	alive, err := s.host.start()
	if err != nil {
		return err
	}
	return ready(ctx, s.DSN, alive)
}

// Freeze stops every process of the server where it is: it accepts connections, and never replies. Thaw ends that.
func (s *Server) Freeze() error { return s.host.freeze(true) }

// Thaw lets the server go on.
func (s *Server) Thaw() error { return s.host.freeze(false) }

// Start brings a server up and waits until it answers.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if bin := findBinaries(); bin != "" {
		return startLocal(ctx, bin, opts)
	}
	if dockerWorks(ctx) {
		return startDocker(ctx, opts)
	}
	if os.Geteuid() == 0 && hasApt() {
		if err := installDebian(ctx); err != nil {
			return nil, err
		}
		if bin := findBinaries(); bin != "" {
			return startLocal(ctx, bin, opts)
		}
	}
	return nil, errors.New("no PostgreSQL: install its server (Debian: apt-get install postgresql; macOS: brew install postgresql), " +
		"or start Docker, or set " + Env + " to a server's postgres:// URL")
}

// settings are the server's, beside its address.
func settings(opts Options) []string {
	s := []string{"max_connections=400", "timezone=UTC"}
	if !opts.Durable {
		s = append(s, "fsync=off", "full_page_writes=off")
	}
	return s
}

func freePort() (int, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// ready waits until the server answers a query, or alive says that it has ended.
func ready(ctx context.Context, dsn string, alive func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		if dead := alive(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		case <-tick.C:
		}
	}
}

func hasApt() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil
}

func installDebian(ctx context.Context) error {
	for _, args := range [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", "postgresql"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("install PostgreSQL: apt-get %s: %w", args[0], err)
		}
	}
	return nil
}
