// Command hirewire shows, sets up and checks a Hirewire stack.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/settings"
	"hirewire.dev/platform/telemetry"
)

//go:embed testdata/employees.csv
var sampleEmployees []byte

// commands are the tool's, one to a file.
type commands struct {
	Demo    demoCommand    `cmd:"" help:"Run the three services and some banks in this process, add employees, and show the verdict."`
	Bench   benchCommand   `cmd:"" help:"Measure on this machine: the notifier and the whole chain, in ratio to what the machine can do."`
	Import  importCommand  `cmd:"" help:"Add the employees of an HR export to a running stack, and show the verdict. Status 1 if a row was refused, or an account is lost or doubled."`
	Conform conformCommand `cmd:"" help:"Check a webhook receiver, in any language: what it takes, what it refuses, and what to fix."`
	Init    initCommand    `cmd:"" help:"Make the certificates, passwords and keys that docker-compose.yml needs."`
	Ready   readyCommand   `cmd:"" help:"Exit with 0 if a service says that it is ready."`
	Run     runCommand     `cmd:"" hidden:"" help:"Run one service, configured by the environment."`
}

// flushLimit is how long the last spans may take.
const flushLimit = time.Second

// exitInterrupted is what a shell reports of a program that Ctrl-C has ended.
const exitInterrupted = 130

func main() {
	serve.Prepare()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	var c commands
	parser := kong.Must(&c,
		kong.Name("hirewire"),
		kong.Description("When an employee is added, every bank that registered a webhook opens an account: once, in order, whatever crashes in between."),
		kong.ShortUsageOnError(),
		kong.Exit(func(code int) { os.Exit(min(code, settings.ExitUsage)) }), // kong's own for bad usage is 80
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	kctx, err := parser.Parse(os.Args[1:])
	parser.FatalIfErrorf(err)
	_, endTracing, err := telemetry.StartTracing(ctx, "hirewire", slog.Default()) // also for the services that run in this process
	parser.FatalIfErrorf(err)
	err = kctx.Run()
	flush, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	_ = endTracing(flush) // that nobody takes the last spans makes nothing fail
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled) {
		fmt.Fprintln(os.Stderr, "hirewire: interrupted")
		os.Exit(exitInterrupted)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "hirewire:", err)
		os.Exit(1)
	}
}
