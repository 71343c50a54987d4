package flow_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
)

// hirewire runs the tool as a user would and returns what it prints and its status.
func hirewire(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join(programs.Dir(t), "hirewire"), args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

type verdict struct {
	Employees, Banks, Deliveries, Accounts, Lost, Duplicates int
	P50                                                      *float64 `json:"p50_ms"`
	P99                                                      *float64 `json:"p99_ms"`
	Seconds                                                  *float64
}

// lastLine is the JSON object that --json promises there.
func lastLine(t *testing.T, stdout string) verdict {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var v verdict
	decoder := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&v); err != nil || v.P50 == nil || v.P99 == nil || v.Seconds == nil {
		t.Fatalf("the last line is no verdict: %v\n%s", err, stdout)
	}
	return v
}

func TestDemo(t *testing.T) {
	programs.Engines(t, func(t *testing.T, databaseURL string) {
		data := t.TempDir()
		args := []string{"demo", "--exit", "--json", "--banks", "2", "--employees", "250", "--data", data, "--database-url", databaseURL}
		stdout, stderr, status := hirewire(t, args...)
		if v := lastLine(t, stdout); status != 0 || v.Employees != 250 || v.Banks != 2 || v.Accounts != 500 || v.Deliveries != 500 || v.Lost != 0 || v.Duplicates != 0 {
			t.Fatalf("status %d, verdict %+v\n%s", status, v, stderr)
		}
		// The same folder is the same stack: the same employees are not added twice.
		stdout, stderr, status = hirewire(t, args...)
		if v := lastLine(t, stdout); status != 0 || v.Employees != 250 || v.Accounts != 500 {
			t.Errorf("the second time: status %d, verdict %+v\n%s", status, v, stderr)
		}
	})
}

func TestDemoReportsBadRowsOfAnExportAndAddsTheOthers(t *testing.T) {
	export := filepath.Join(t.TempDir(), "export.csv")
	rows := "employee_number,given_name,family_name,email,hire_date,country,currency\n" +
		"X1,Zoë,李,x1@example.com,2026-01-05,DE,EUR\n" +
		"X2,Bad,Date,x2@example.com,2026-02-30,DE,EUR\n" +
		"X3,Too,Short\n" +
		"X4,No,Country,x4@example.com,2026-01-05,ZZ,EUR\n" +
		"X5,=HYPERLINK(),'; DROP TABLE employees;--,x5@example.com,2026-01-05,FR,EUR\n"
	if err := os.WriteFile(export, []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, status := hirewire(t, "demo", "--exit", "--json", "--banks", "1", "--csv", export)
	if v := lastLine(t, stdout); status != 0 || v.Employees != 2 || v.Accounts != 2 {
		t.Errorf("status %d, verdict %+v", status, v)
	}
	for _, want := range []string{"line 3: ", "hire_date", "line 4: 3 fields where the header has 7", "line 5: ", "country"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not reported:\n%s", want, stderr)
		}
	}
}

func TestBankConforms(t *testing.T) {
	s := programs.Start(t, stack.Config{Banks: 1})
	bank := s.Description.Banks[0]
	stdout, stderr, status := hirewire(t, "conform", "--url", bank.URL+"/webhooks/employees", "--secret", bank.WebhookSecret, "--ca-file", s.Description.CAFile)
	if status != 0 || !strings.Contains(stdout, " passed, 0 warnings, 0 defects") {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
}

// TestBench takes every figure once, in small: what it prints is what scripts read.
func TestBench(t *testing.T) {
	programs.Engines(t, func(t *testing.T, databaseURL string) {
		stdout, stderr, status := hirewire(t, "bench", "--json", "--processes", "--database-url", databaseURL, "--runs", "1", "--events", "600",
			"--employees", "120", "--paced-seconds", "1", "--subscriptions", "20", "--history-deliveries", "2000", "--outage-events", "600",
			"--only", "raw,notify,held,paced,chain,fanout,history,outage")
		if status != 0 {
			t.Fatalf("status %d\n%s", status, stderr)
		}
		type run struct {
			PerSecond  float64 `json:"per_second"`
			P50        float64 `json:"p50_ms"`
			P95        float64 `json:"p95_ms"`
			P99        float64 `json:"p99_ms"`
			CPU        float64 `json:"cpu_ms_per_delivery"`
			Lost       *int    `json:"lost"`
			Duplicates *int    `json:"duplicates"`
			Employees  float64 `json:"employees_per_second"`
			Accounts   float64 `json:"accounts_per_second"`
		}
		var report struct {
			Raw           run
			Notify, Paced map[string]run
			Chain         map[string]run
			History       struct{ Ratio float64 }
		}
		if err := json.Unmarshal([]byte(stdout), &report); err != nil {
			t.Fatalf("%v: %s", err, stdout)
		}
		if report.Raw.PerSecond == 0 || report.History.Ratio == 0 || len(report.Notify) != 2 || len(report.Paced) != 2 || len(report.Chain) != 2 {
			t.Errorf("a part is missing: %s", stdout)
		}
		for part, runs := range map[string]map[string]run{"notify": report.Notify, "paced": report.Paced, "chain": report.Chain} {
			for name, r := range runs {
				if r.Lost == nil || *r.Lost != 0 || r.Duplicates == nil || *r.Duplicates != 0 || r.P50 <= 0 || r.P99 < r.P50 {
					t.Errorf("%s %s: %+v", part, name, r)
				}
				if part == "chain" && (r.Employees == 0 || r.Accounts == 0) || part != "chain" && (r.PerSecond == 0 || r.P95 < r.P50 || r.CPU == 0) {
					t.Errorf("%s %s: %+v", part, name, r)
				}
			}
		}
	})
}
