package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"hirewire.dev/hirewire/internal/verdict"
	"hirewire.dev/hirewire/stack"
)

// demoCommand shows the whole chain in one process.
type demoCommand struct {
	Employees   int         `default:"200" help:"How many sample employees to add, without --csv; 0: none."`
	CSV         string      `name:"csv" placeholder:"FILE" help:"Add the employees of this HR export instead. Columns, in any order: employee_number, given_name, family_name, email, hire_date (YYYY-MM-DD), country (ISO 3166), currency (ISO 4217), and if you like job_title, department."`
	Banks       int         `default:"3" help:"How many banks, 1 to 100."`
	Data        string      `placeholder:"DIR" help:"Keep databases and keys here, to go on with later; without it they go when the demo ends."`
	DatabaseURL postgresURL `placeholder:"postgres://…" help:"Use this PostgreSQL, with a schema for each service, instead of SQLite files."`
	Exit        bool        `help:"End after the verdict, with status 0 only if nothing was lost or doubled."`
	JSON        bool        `name:"json" help:"Make the last line of stdout the verdict as one JSON object."`
	ReadyFile   string      `placeholder:"PATH" help:"Once all is ready, write addresses and keys here, as one JSON object."`
	LogLevel    string      `enum:"off,debug,info,warn,error" default:"off" help:"Show the services' logs on stderr: ${enum}."`
}

// Validate is called by kong.
func (c *demoCommand) Validate() error {
	if c.Employees < 0 {
		return errors.New("--employees takes 0 or more")
	}
	return checkBanks(c.Banks)
}

func checkBanks(n int) error {
	if n < 1 || n > 100 {
		return errors.New("--banks takes 1 to 100")
	}
	return nil
}

func (c *demoCommand) Run(ctx context.Context) (err error) {
	rows, closeRows, err := openRows(c.CSV, c.Employees)
	if err != nil {
		return err
	}
	defer closeRows()
	dir := c.Data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "hirewire-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	screen := newScreen(os.Stderr)
	start := time.Now()
	running, err := stack.Start(ctx, stack.Config{Dir: dir, Banks: c.Banks, DatabaseURL: string(c.DatabaseURL)}, stack.Options{Log: c.log(), KeepSchemas: c.Data != ""})
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer func() { err = errors.Join(err, running.Stop()) }()
	description := &running.Plan.Description
	clients, err := description.Dial()
	if err != nil {
		return err
	}
	defer clients.Close()
	if err := clients.AwaitSubscriptions(ctx, description); err != nil {
		return err
	}
	banks := "banks"
	if c.Banks == 1 {
		banks = "bank"
	}
	screen.Keep("employee-svc, notifier and %d %s are ready after %.1f s", c.Banks, banks, time.Since(start).Seconds())
	if c.ReadyFile != "" {
		if err := description.WriteFile(c.ReadyFile); err != nil {
			return err
		}
	}
	var v verdict.Verdict
	if c.CSV != "" || c.Employees > 0 {
		v, err = importAndJudge(ctx, clients, rows, screen)
	} else {
		v, err = verdict.Judge(ctx, clients)
	}
	if err != nil {
		return err
	}
	if c.Exit {
		return report(v, c.JSON)
	}
	if err := c.stay(ctx, running, v); err != nil {
		return err
	}
	if c.JSON {
		return report(v, true)
	}
	return nil
}

func (c *demoCommand) log() *slog.Logger {
	if c.LogLevel == "off" {
		return nil
	}
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // kong has checked it
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// stay shows the verdict and where to look, until the demo is interrupted. That the stack ends before is an error.
func (c *demoCommand) stay(ctx context.Context, running *stack.Running, v verdict.Verdict) error {
	d := running.Plan.Description
	out := os.Stdout
	if c.JSON {
		out = os.Stderr
	}
	if v.Employees > 0 || v.Refused > 0 {
		v.Print(out)
	}
	fmt.Fprintf(out, "  Where to look, until Ctrl-C (it is all in one JSON object with --ready-file):\n\n")
	fmt.Fprintf(out, "  employees   curl -H 'authorization: Bearer %s' %s/v1/employees\n", d.Employee.WriterKey, d.Employee.HTTP)
	fmt.Fprintf(out, "  deliveries  curl -H 'authorization: Bearer %s' %s/v1/deliveries\n", d.Notifier.AdminKey, d.Notifier.HTTP)
	for _, b := range d.Banks {
		fmt.Fprintf(out, "  %-10s  curl --cacert %s -H 'authorization: Bearer %s' %s/v1/accounts\n", b.Name, d.CAFile, b.Key, b.URL)
	}
	fmt.Fprintf(out, "  data        %s\n\n", d.DataDir)
	select {
	case <-ctx.Done():
		return nil
	case <-running.Done():
		return errors.New("a service has ended")
	}
}
