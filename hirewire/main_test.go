package main

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain lets this program be the tool as well.
func TestMain(m *testing.M) {
	if os.Getenv("BE_HIREWIRE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func tool(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "BE_HIREWIRE=yes")
	return cmd
}

func TestBadUsageIsStatus2AndNamesWhatIsWrong(t *testing.T) {
	for args, want := range map[string]string{
		"nonsense":                      "nonsense",
		"demo --banks 0":                "--banks takes 1 to 100",
		"demo --banks many":             "--banks",
		"demo --employees=-1":           "--employees takes 0 or more",
		"demo --log-level loud":         "--log-level",
		"init --banks 101 /nowhere":     "--banks takes 1 to 100",
		"bench --runs 0":                "--runs: must be 1 or more",
		"bench --clients=-1":            "--clients: must be 1 or more",
		"bench --events 0":              "--events: must be 1 or more",
		"bench --only raw,speed":        `part "speed" is not known; there are raw, notify, held`,
		"conform --url http://x":        "--secret",
		"import":                        "--stack",
		"conform --url x --secret hush": "--secret: ",

		"demo --database-url mysql://u:hush@host/db":         "--database-url: must be postgres://",
		"demo --database-url sqlite:hush.db":                 "--database-url: must be postgres://",
		"demo --database-url postgres://u:hush@host:port/db": "--database-url: must be postgres://",
		"bench --database-url postgres://u:hush%zz@host/db":  "--database-url: must be postgres://",
		"bench --database-url host=h,password=hush,dbname=d": "--database-url: must be postgres://",
	} {
		t.Run(args, func(t *testing.T) {
			var stderr bytes.Buffer
			cmd := tool(t, strings.Fields(args)...)
			cmd.Stderr = &stderr
			_ = cmd.Run()
			if status := cmd.ProcessState.ExitCode(); status != 2 || !strings.Contains(stderr.String(), want) || strings.Contains(stderr.String(), "hush") {
				t.Errorf("status %d, want 2 and %q:\n%s", status, want, stderr.String())
			}
		})
	}
}

func TestADatabaseThatIsNotThereIsNamedWithoutUrlOrStatement(t *testing.T) {
	for _, args := range [][]string{{"demo", "--exit"}, {"bench", "--only", "raw"}, {"bench", "--only", "chain"}} {
		var stderr bytes.Buffer
		cmd := tool(t, append(args, "--database-url", "postgres://nobody:hush@127.0.0.1:1/none?sslmode=disable")...)
		cmd.Stderr = &stderr
		_ = cmd.Run()
		out := stderr.String()
		if status := cmd.ProcessState.ExitCode(); status != 1 || !strings.Contains(out, "create the schemas: ") || strings.Contains(out, "hush") || strings.Contains(out, "SCHEMA") {
			t.Errorf("%s: status %d\n%s", args, status, out)
		}
	}
}

func TestInterruptIsStatus130(t *testing.T) {
	asked := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	}))
	defer server.Close()
	var stderr bytes.Buffer
	cmd := tool(t, "ready", server.URL)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-asked
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 130 || stderr.String() != "hirewire: interrupted\n" {
		t.Errorf("status %d\n%s", status, stderr.String())
	}
}

func TestInterruptEndsADemoThatIsUpWithStatus0(t *testing.T) {
	cmd := tool(t, "demo", "--employees", "1", "--banks", "1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.Contains(lines.Text(), "until Ctrl-C") {
			_ = cmd.Process.Signal(os.Interrupt)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
