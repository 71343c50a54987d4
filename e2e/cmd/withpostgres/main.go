// Command withpostgres runs a command with TEST_POSTGRES_DSN set: to the server that it already names, or else to a
// throw-away PostgreSQL that it starts on loopback and removes afterwards.
//
//	withpostgres [-durable] -- go test work
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"hirewire.dev/e2e/postgres"
)

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpostgres:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run() (int, error) {
	durable := flag.Bool("durable", false, "keep fsync on, for benchmarks; off by default, since a test's server outlives what it tests")
	flag.Parse()
	if flag.NArg() == 0 {
		return 0, errors.New("usage: withpostgres [-durable] -- COMMAND [ARG …]")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	dsn := os.Getenv(postgres.Env)
	if dsn == "" {
		server, err := postgres.Start(ctx, postgres.Options{Durable: *durable})
		if err != nil {
			return 0, err
		}
		defer server.Stop()
		dsn = server.DSN
		fmt.Fprintln(os.Stderr, "withpostgres: started", server.Source)
	}
	cmd := exec.CommandContext(ctx, flag.Arg(0), flag.Args()[1:]...)
	cmd.Env = append(os.Environ(), postgres.Env+"="+dsn)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}
