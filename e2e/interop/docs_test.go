package interop_test

import (
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq"

	"hirewire.dev/e2e/programs"
	"hirewire.dev/platform/id"
	"hirewire.dev/webhook"
)

// The programs in docs/receivers.md are what readers copy: they compile, run, and pass the checks that the same page tells of.
func TestReceiversOfTheDocumentationConform(t *testing.T) {
	t.Run("Go", func(t *testing.T) {
		addr := freeAddr(t)
		dir := t.TempDir()
		writeCertificate(t, dir)
		source := filepath.Join(dir, "main.go")
		write(t, source, strings.ReplaceAll(block(t, "go"), "127.0.0.1:8443", addr))
		// In this module, which has all that it imports, without a file in it.
		here, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "documented", "main.go"): source}})
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "overlay.json"), string(overlay))
		program := filepath.Join(dir, "receiver")
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, "./documented").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		secret := webhook.NewSecret()
		receive(t, exec.CommandContext(t.Context(), program), dir, addr, secret)
		conforms(t, secret, "--url", "https://"+addr+"/webhooks/employees", "--ca-file", filepath.Join(dir, "cert.pem"))
	})
	t.Run("JavaScript", func(t *testing.T) {
		needNode(t)
		database, err := url.Parse(programs.PostgresURL(t))
		if err != nil {
			t.Fatal(err)
		}
		addr := freeAddr(t)
		_, port, _ := net.SplitHostPort(addr)
		script, err := os.CreateTemp(".", "documented-*.mjs") // beside node_modules
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(script.Name()) })
		if err := script.Close(); err != nil {
			t.Fatal(err)
		}
		write(t, script.Name(), block(t, "js"))
		secret := webhook.NewSecret()
		password, _ := database.User.Password()
		schema := ownSchema(t, database.String())
		cmd := exec.CommandContext(t.Context(), "node", script.Name())
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "PORT=" + port, "PGHOST=" + database.Hostname(), "PGPORT=" + database.Port(), "PGUSER=" + database.User.Username(),
			"PGPASSWORD=" + password, "PGDATABASE=" + strings.TrimPrefix(database.Path, "/"), "PGOPTIONS=-c search_path=" + schema, "PGAPPNAME=" + schema,
		}
		receive(t, cmd, "", addr, secret)
		conforms(t, secret, "--url", "http://"+addr+"/webhooks/employees")
		dropConnections(t, database.String(), schema)
		conforms(t, secret, "--url", "http://"+addr+"/webhooks/employees")
	})
}

// block is the page's program in a language.
func block(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/receivers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "\n```"+language+"\n")
	program, _, ended := strings.Cut(rest, "\n```\n")
	if !found || !ended {
		t.Fatalf("there is no program in %s", language)
	}
	return program + "\n"
}

// ownSchema makes a schema for the test and names it.
func ownSchema(t *testing.T, databaseURL string) string {
	t.Helper()
	db, err := sql.Open("postgres", databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	name := strings.ToLower(id.New("documented"))
	if _, err := db.ExecContext(t.Context(), `CREATE SCHEMA `+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.WithoutCancel(t.Context()), `DROP SCHEMA `+name+` CASCADE`); err != nil {
			t.Error(err)
		}
	})
	return name
}

// dropConnections ends the connections of an application, as a database does that restarts.
func dropConnections(t *testing.T, databaseURL, application string) {
	t.Helper()
	db, err := sql.Open("postgres", databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	if err := db.QueryRowContext(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1`, application).Scan(&n); err != nil || n == 0 {
		t.Fatalf("%d connections ended: %v", n, err)
	}
}

// receive runs a receiver until the test ends, and waits until it listens.
func receive(t *testing.T, cmd *exec.Cmd, dir, addr string, secret webhook.Secret) {
	t.Helper()
	var output strings.Builder
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &output, &output
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "WEBHOOK_SECRET="+secret.Reveal())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
	programs.Eventually(t, 30*time.Second, func() error {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func conforms(t *testing.T, secret webhook.Secret, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(programs.Dir(t), "hirewire"),
		append([]string{"conform", "--secret", secret.Reveal()}, args...)...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), " passed, 0 warnings, 0 defects") {
		t.Errorf("%v\n%s", err, out)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// writeCertificate writes a certificate for 127.0.0.1 that is its own authority.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key},
	} {
		write(t, filepath.Join(dir, name), string(pem.EncodeToMemory(b)))
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(fmt.Errorf("write %s: %w", path, err))
	}
}
