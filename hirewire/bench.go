package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"hirewire.dev/hirewire/internal/bench"
)

// benchCommand measures on this machine.
type benchCommand struct {
	Only              []string    `placeholder:"PART,…" help:"Parts to run: raw, notify, held, paced, chain, fanout, history, outage. Without it all but the last two."`
	DatabaseURL       postgresURL `placeholder:"postgres://…" help:"PostgreSQL to measure with; without it, SQLite files."`
	Processes         bool        `help:"Run each service in a process of its own. CPU figures are then the notifier's and PostgreSQL's alone."`
	HTTP              bool        `name:"http" help:"Deliver over plain HTTP instead of HTTPS."`
	Clients           size        `default:"64" help:"How many publish at the same time, each over a connection of its own."`
	Events            size        `default:"20000" help:"Events in each run."`
	Employees         size        `default:"6000" help:"Employees in each run of the chain."`
	Runs              size        `default:"3" help:"How often each figure is taken; the median is shown."`
	PacedSeconds      size        `default:"5" help:"How long each paced run lasts."`
	Subscriptions     size        `default:"1000" help:"Subscriptions of the fan-out."`
	HistoryDeliveries size        `default:"5000000" help:"Finished deliveries in the tables for the history part."`
	OutageEvents      size        `default:"100000" help:"Events to hold and drain."`
	JSON              bool        `name:"json" help:"Print one JSON object instead of a table."`
}

// size is how many there are to be of something.
type size int

// Validate is called by kong, which names the flag.
func (s size) Validate() error {
	if s < 1 {
		return errors.New("must be 1 or more")
	}
	return nil
}

// Validate is called by kong.
func (c *benchCommand) Validate() error { return bench.CheckParts(c.Only) }

var errBenchLost = errors.New("events or accounts were lost or doubled")

func (c *benchCommand) Run(ctx context.Context) error {
	screen := newScreen(os.Stderr)
	opts := bench.Options{
		Only: c.Only, DatabaseURL: string(c.DatabaseURL), HTTP: c.HTTP, Clients: int(c.Clients), Events: int(c.Events), Employees: int(c.Employees), Runs: int(c.Runs),
		PacedSeconds: int(c.PacedSeconds), Subscriptions: int(c.Subscriptions), HistoryDeliveries: int(c.HistoryDeliveries), OutageEvents: int(c.OutageEvents),
		Progress: screen.Update,
	}
	if c.Processes {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		opts.Command = func(kind string) *exec.Cmd { return exec.Command(self, "run", kind) } //nolint:noctx // the stack ends it
	}
	report, err := bench.Run(ctx, opts)
	screen.Clear()
	if err != nil {
		return err
	}
	if c.JSON {
		line, err := json.Marshal(report)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	} else {
		report.Print(os.Stdout)
	}
	if !report.Good() {
		return errBenchLost
	}
	return nil
}
