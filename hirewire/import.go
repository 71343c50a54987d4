package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"hirewire.dev/hirewire/internal/hire"
	"hirewire.dev/hirewire/internal/people"
	"hirewire.dev/hirewire/internal/verdict"
	"hirewire.dev/hirewire/stack"
)

// importCommand adds employees to a stack that is running already.
type importCommand struct {
	Stack string `required:"" placeholder:"FILE" help:"The description of the stack: what demo --ready-file or init wrote."`
	CSV   string `name:"csv" placeholder:"FILE" help:"The HR export; without it, 200 sample employees. Columns, in any order: employee_number, given_name, family_name, email, hire_date (YYYY-MM-DD), country (ISO 3166), currency (ISO 4217), and if you like job_title, department."`
	JSON  bool   `name:"json" help:"Make the verdict the last line of stdout, as one JSON object."`
}

func (c *importCommand) Run(ctx context.Context) error {
	description, err := stack.ReadDescription(c.Stack)
	if err != nil {
		return err
	}
	clients, err := description.Dial()
	if err != nil {
		return err
	}
	defer clients.Close()
	if err := clients.AwaitSubscriptions(ctx, description); err != nil {
		return err
	}
	rows, closeRows, err := openRows(c.CSV, 0)
	if err != nil {
		return err
	}
	defer closeRows()
	v, err := importAndJudge(ctx, clients, rows, newScreen(os.Stderr))
	if err != nil {
		return err
	}
	if err := report(v, c.JSON); err != nil {
		return err
	}
	if v.Refused > 0 {
		return errRefused
	}
	return nil
}

var (
	errNotGood = errors.New("accounts were lost or doubled")
	errRefused = errors.New("rows were refused")
)

// report prints the verdict; one that is not good is an error.
func report(v verdict.Verdict, asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	} else {
		v.Print(os.Stdout)
	}
	if !v.Good() {
		return errNotGood
	}
	return nil
}

// openRows reads the export at path; without one, it makes n samples up, or as many as the sample export has.
func openRows(path string, n int) (iter.Seq[people.Row], func(), error) {
	if path == "" && n > 0 {
		samples, err := people.Samples(sampleEmployees, n)
		if err != nil {
			return nil, nil, err
		}
		return func(yield func(people.Row) bool) {
			for i, e := range samples {
				if !yield(people.Row{Line: i + 2, Employee: e}) {
					return
				}
			}
		}, func() {}, nil
	}
	file, err := openExport(path)
	if err != nil {
		return nil, nil, err
	}
	rows, err := people.ReadCSV(file)
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return rows, func() { file.Close() }, nil
}

func openExport(path string) (io.ReadCloser, error) {
	if path == "" {
		return io.NopCloser(bytes.NewReader(sampleEmployees)), nil
	}
	return os.Open(path)
}

// patience is how long nothing may move before the verdict is given on what is there.
const patience = 30 * time.Second

// importAndJudge adds the rows, shows how far things are, and judges once nothing is under way.
func importAndJudge(ctx context.Context, clients *stack.Clients, rows iter.Seq[people.Row], screen *screen) (verdict.Verdict, error) {
	start := time.Now()
	result, err := hire.Import(ctx, clients.Employees, rows, func(r hire.Result) {
		screen.Update("employees added %d", r.Created+r.Existing)
	})
	if err != nil {
		return verdict.Verdict{}, fmt.Errorf("import: %w", err)
	}
	screen.Keep("%d employees added, %d were there, %d refused", result.Created, result.Existing, result.Failed)
	for _, e := range result.Errors {
		field := ""
		if e.Field != "" {
			field = e.Field + ": "
		}
		screen.Keep("  line %d: %s%s", e.Line, field, e.Reason)
	}
	v, err := verdict.Await(ctx, clients, patience, func(p verdict.Progress) {
		screen.Update("delivered %d, pending %d, dead %d", p.Delivered, p.Pending, p.Dead)
	})
	if err != nil {
		return verdict.Verdict{}, fmt.Errorf("judge: %w", err)
	}
	screen.Clear()
	v.Refused = result.Failed
	v.Seconds = float64(time.Since(start).Milliseconds()) / 1000
	return v, nil
}
