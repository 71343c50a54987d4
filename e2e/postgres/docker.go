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
	args := []string{"run", "--rm", "-d", "-e", "POSTGRES_USER=hirewire", "-e", "POSTGRES_PASSWORD=throw-away", "-p", "127.0.0.1:" + strconv.Itoa(port) + ":5432", image, "postgres"}
	for _, s := range settings(opts) {
		args = append(args, "-c", s)
	}
	out, err := exec.CommandContext(ctx, "docker", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("docker run %s: %w", image, err)
	}
	container := strings.TrimSpace(string(out))
	server := &Server{
		DSN:    fmt.Sprintf("postgres://hirewire:throw-away@127.0.0.1:%d/postgres?sslmode=disable", port),
		Source: image + " in Docker",
		stop: func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			_ = exec.CommandContext(ctx, "docker", "rm", "-f", "-v", container).Run()
		},
	}
	if err := ready(ctx, server.DSN, func() error { return nil }); err != nil {
		server.Stop()
		return nil, err
	}
	return server, nil
}
