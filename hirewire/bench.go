package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"

	"hirewire.dev/hirewire/internal/bench"
)

// benchCommand measures on this machine.
type benchCommand struct {
	Only              []string `placeholder:"PART,…" help:"Parts to run: raw, notify, held, paced, chain, fanout, history, outage. Without it all but the last two."`
	DatabaseURL       string   `placeholder:"postgres://…" help:"PostgreSQL to measure with; without it, SQLite files."`
	Processes         bool     `help:"Run each service in a process of its own. CPU figures are then the notifier's and PostgreSQL's alone."`
	HTTP              bool     `name:"http" help:"Deliver over plain HTTP instead of HTTPS."`
	Clients           int      `default:"64" help:"How many publish at the same time, each over a connection of its own."`
	Events            int      `default:"20000" help:"Events in each run."`
	Employees         int      `default:"6000" help:"Employees in each run of the chain."`
	Runs              int      `default:"3" help:"How often each figure is taken; the median is shown."`
	PacedSeconds      int      `default:"5" help:"How long each paced run lasts."`
	Subscriptions     int      `default:"1000" help:"Subscriptions of the fan-out."`
	HistoryDeliveries int      `default:"5000000" help:"Finished deliveries in the tables for the history part."`
	OutageEvents      int      `default:"100000" help:"Events to hold and drain."`
	JSON              bool     `name:"json" help:"Print one JSON object instead of a table."`
}

func (c *benchCommand) Run(ctx context.Context) error {
	screen := newScreen(os.Stderr)
	opts := bench.Options{
		Only: c.Only, DatabaseURL: c.DatabaseURL, HTTP: c.HTTP, Clients: c.Clients, Events: c.Events, Employees: c.Employees, Runs: c.Runs,
		PacedSeconds: c.PacedSeconds, Subscriptions: c.Subscriptions, HistoryDeliveries: c.HistoryDeliveries, OutageEvents: c.OutageEvents,
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
		return nil
	}
	report.Print(os.Stdout)
	return nil
}
