package postgres

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

const image = "postgres:17-bookworm"

func dockerWorks(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "docker", "info").Run() == nil
}

func startDocker(ctx context.Context, opts Options) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args := []string{"run", "-d", "-e", "POSTGRES_USER=hirewire", "-e", "POSTGRES_PASSWORD=throw-away", "-p", "127.0.0.1:" + strconv.Itoa(port) + ":5432", image, "postgres"}
	for _, s := range settings(opts) {
		args = append(args, "-c", s)
	}
	out, err := exec.CommandContext(ctx, "docker", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("docker run %s: %w", image, err)
	}
	server := &Server{
		DSN:    fmt.Sprintf("postgres://hirewire:throw-away@127.0.0.1:%d/postgres?sslmode=disable", port),
		Source: image + " in Docker",
		host:   container(strings.TrimSpace(string(out))),
	}
	if err := ready(ctx, server.DSN, func() error { return nil }); err != nil {
		server.Stop()
		return nil, err
	}
	return server, nil
}

// container is a host in Docker, by its id.
type container string

func (c container) docker(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "docker", append(args, string(c))...).CombinedOutput(); err != nil {
		return fmt.Errorf("docker %s: %w: %s", args[0], err, out)
	}
	return nil
}

func (c container) halt(atOnce bool) error {
	signal := "INT"
	if atOnce {
		signal = "QUIT"
	}
	if err := c.docker("kill", "-s", signal); err != nil {
		return err
	}
	return c.docker("wait")
}

func (c container) start() (func() error, error) {
	return func() error { return nil }, c.docker("start")
}

func (c container) freeze(frozen bool) error {
	if frozen {
		return c.docker("pause")
	}
	return c.docker("unpause")
}

func (c container) remove() { _ = c.docker("rm", "-f", "-v") }
