// Package compose_test runs docker-compose.yml for real. It needs a Docker engine with Compose and takes minutes, so it
// runs only when it is asked for: make test-compose.
package compose_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hirewire.dev/platform/sqldb/sqldbtest"
)

var enabled = flag.Bool("compose", false, "run docker-compose.yml with the Docker engine of this machine")

// sampleEmployees is how many the sample export has.
const sampleEmployees = 200

// compose runs `docker compose` in a project of its own, so that it meets no other stack.
type compose struct {
	t   *testing.T
	dir string
}

func (c compose) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "docker", append([]string{"compose", "-p", "hirewire-test"}, args...)...)
	cmd.Dir = c.dir
	return cmd
}

func (c compose) run(args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), 20*time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	cmd := c.command(ctx, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("docker compose %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

func TestComposeBringsUpAStackThatSurvivesKills(t *testing.T) {
	if !*enabled {
		sqldbtest.LeaveOut(t, "docker-compose.yml for real: make test-compose runs it")
	}
	work, err := exec.Command("go", "env", "GOWORK").Output()
	if err != nil {
		t.Fatal(err)
	}
	c := compose{t, filepath.Dir(strings.TrimSpace(string(work)))}
	c.run("down", "-v", "--remove-orphans")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.run("ps", "-a"), c.run("logs", "--tail=40"))
		}
		c.run("down", "-v", "--remove-orphans", "--timeout=15")
	})
	c.run("build")
	start := time.Now()
	c.run("up", "-d", "--no-build")
	t.Logf("up after %.0f s", time.Since(start).Seconds())

	// The one-shot has imported the samples and says so.
	if code := strings.TrimSpace(c.run("wait", "import")); code != "0" && !strings.HasSuffix(code, " 0") {
		t.Fatalf("the import ended with %q", code)
	}
	if logs := c.run("logs", "--no-log-prefix", "import"); !strings.Contains(logs, "Every employee has exactly one account in every bank.") {
		t.Fatalf("the import's last words:\n%s", logs)
	}

	// Each container is killed once while more employees are imported.
	export := largeExport(t, 3000)
	imported := make(chan string, 1)
	go func() { imported <- c.importFile(export) }()
	for _, service := range []string{"employee-svc", "notifier", "bank-1", "bank-2", "bank-3", "postgres"} {
		time.Sleep(500 * time.Millisecond)
		c.run("kill", "-s", "KILL", service)
		c.run("up", "-d", "--no-build", "--no-deps", service) // what a supervisor does: docker does not restart what it was told to kill
	}
	select {
	case out := <-imported:
		assertGood(t, out, sampleEmployees+3000)
	case <-time.After(5 * time.Minute):
		t.Fatal("the import does not end")
	}

	// The whole stack restarts, and nothing is gone.
	c.run("restart", "--timeout=15")
	c.run("up", "-d", "--no-build", "--wait", "employee-svc", "notifier", "bank-1", "bank-2", "bank-3")
	assertGood(t, c.importFile(export), sampleEmployees+3000)
}

// importFile imports an export from a container of the stack, and returns what it prints.
func (c compose) importFile(path string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), 5*time.Minute)
	defer cancel()
	cmd := c.command(ctx, "run", "--rm", "--no-deps", "-T", "-v", path+":/export.csv:ro", "import",
		"hirewire", "import", "--stack=/secrets/client/stack.json", "--csv=/export.csv", "--json")
	out, err := cmd.Output()
	if err != nil {
		return fmt.Sprintf("%s\n%v", out, err)
	}
	return string(out)
}

func assertGood(t *testing.T, out string, employees int) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var verdict struct{ Employees, Banks, Accounts, Lost, Duplicates int }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &verdict); err != nil {
		t.Fatalf("the import printed no verdict: %v\n%s", err, out)
	}
	if verdict.Employees != employees || verdict.Accounts != employees*verdict.Banks || verdict.Lost != 0 || verdict.Duplicates != 0 {
		t.Errorf("verdict %+v, want %d employees with one account in each bank", verdict, employees)
	}
}

func largeExport(t *testing.T, n int) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("employee_number,given_name,family_name,email,hire_date,country,currency\n")
	for i := range n {
		fmt.Fprintf(&b, "C%05d,Compose,Nr %d,c%05d@compose.example,2026-01-05,NL,EUR\n", i, i, i)
	}
	path := filepath.Join(t.TempDir(), "export.csv")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
