package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"hirewire.dev/hirewire/stack"
)

func TestImportFailsWhenARowIsRefused(t *testing.T) {
	dir := t.TempDir()
	running, err := stack.Start(t.Context(), stack.Config{Dir: dir, Banks: 1}, stack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := running.Stop(); err != nil {
			t.Error(err)
		}
	}()
	description, export := filepath.Join(dir, "stack.json"), filepath.Join(dir, "export.csv")
	if err := running.Plan.Description.WriteFile(description); err != nil {
		t.Fatal(err)
	}
	const header, good = "employee_number,given_name,family_name,email,hire_date,country,currency\n", "X1,Zoë,李,x1@example.com,2026-01-05,DE,EUR\n"
	for _, test := range []struct {
		name, rows string
		want       error
	}{
		{"good", good, nil},
		{"there already", good, nil},
		{"refused here", good + "X2,\"Bob,x2@example.com,2026-01-05,DE,EUR\n", errRefused},
		{"refused by the service", good + "X3,Bob,Bad,x3@example.com,2026-02-30,DE,EUR\n", errRefused},
		{"nobody", "", nil},
	} {
		if err := os.WriteFile(export, []byte(header+test.rows), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (&importCommand{Stack: description, CSV: export}).Run(t.Context()); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.want)
		}
	}
}
