package employeesvc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	employeesvc "hirewire.dev/employee-svc"
	"hirewire.dev/platform/settings"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The tests' HTTP client keeps connections of its own.
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// What gRPC demands of a client's certificate, the API demands over HTTP: there is none without TLS.
func TestAClientCANeedsHTTPS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"hr.test"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, kind string, der []byte) settings.File {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return settings.File(path)
	}
	s := startService(t, "sqlite:"+t.TempDir()+"/e.db", "127.0.0.1:1", func(c *employeesvc.Config) {
		c.GRPCTLSCert, c.GRPCTLSKey = file("cert.pem", "CERTIFICATE", cert), file("key.pem", "PRIVATE KEY", raw)
		c.GRPCClientCA, c.GRPCClientNames = c.GRPCTLSCert, []string{"hr.test"}
	})
	for path, want := range map[string]int{"/v1/employees": 403, "/openapi.json": 200, "/healthz": 200} {
		if got := s.do(t, "GET", path, ""); got.code != want {
			t.Errorf("%s: %d %s", path, got.code, got.body)
		}
	}
}

// A service that cannot work does not start, says which setting is at fault, never says a secret, and leaves nothing open.
func TestNewRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() })
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	const secret = "secret-of-24-characters-or-more"
	env := map[string]string{
		"EMPLOYEE_HTTP_ADDR": "127.0.0.1:0", "EMPLOYEE_GRPC_ADDR": "127.0.0.1:0",
		"EMPLOYEE_NOTIFIER_KEY": secret, "EMPLOYEE_API_KEYS": "hr:writer:" + secret,
	}
	for _, tt := range []struct {
		set  string // NAME=value
		want string
	}{
		{"EMPLOYEE_NOTIFIER_KEY=", "EMPLOYEE_NOTIFIER_KEY"},
		{"EMPLOYEE_NOTIFIER_KEY=short", "EMPLOYEE_NOTIFIER_KEY"},
		{"EMPLOYEE_API_KEYS=", "EMPLOYEE_API_KEYS"},
		{"EMPLOYEE_API_KEYS=hr:writer:short", "EMPLOYEE_API_KEYS"},
		{"EMPLOYEE_API_KEYS=hr:owner:" + secret, "EMPLOYEE_API_KEYS"},
		{"EMPLOYEE_DATABASE_URL=mysql://x", "EMPLOYEE_DATABASE_URL"},
		{"EMPLOYEE_DATABASE_URL=sqlite:" + file + "/x.db", "EMPLOYEE_DATABASE_URL"},
		{"EMPLOYEE_DATABASE_URL=postgres://u:" + secret + "@127.0.0.1:1/x?connect_timeout=1", "EMPLOYEE_DATABASE_URL"},
		{"EMPLOYEE_HTTP_ADDR=" + busy.Addr().String(), "EMPLOYEE_HTTP_ADDR"},
		{"EMPLOYEE_GRPC_ADDR=" + busy.Addr().String(), "EMPLOYEE_GRPC_ADDR"},
		{"EMPLOYEE_HTTP_ADDR=nowhere", "EMPLOYEE_HTTP_ADDR"},
		{"EMPLOYEE_NOTIFIER_ADDR=10.0.0.1:9002", "EMPLOYEE_NOTIFIER_PLAINTEXT"}, // the key would travel in the clear
		{"EMPLOYEE_NOTIFIER_CA_FILE=" + file, "EMPLOYEE_NOTIFIER_ADDR"},
		{"EMPLOYEE_GRPC_TLS_CERT=" + file, "EMPLOYEE_GRPC_TLS_CERT"},
		{"EMPLOYEE_HTTP_TLS_KEY=" + file, "EMPLOYEE_HTTP_TLS_CERT"},
		{"EMPLOYEE_GRPC_CLIENT_CA=" + file, "EMPLOYEE_GRPC_CLIENT_CA"},
		{"EMPLOYEE_GRPC_CLIENT_NAMES=bank", "EMPLOYEE_GRPC_CLIENT_NAMES"},
	} {
		t.Run(tt.set, func(t *testing.T) {
			t.Parallel()
			name, value, _ := strings.Cut(tt.set, "=")
			lookup := func(key string) (string, bool) {
				switch key {
				case name:
					return value, true
				case "EMPLOYEE_DATABASE_URL":
					return "sqlite:" + filepath.Join(t.TempDir(), "e.db"), true
				}
				v, ok := env[key]
				return v, ok
			}
			var cfg employeesvc.Config
			err := settings.Parse(&cfg, nil, settings.Lookup(lookup), settings.Output(io.Discard))
			if err == nil {
				ctx, cancel := contextWithin(t)
				defer cancel()
				var s *employeesvc.Service
				if s, err = employeesvc.New(ctx, cfg, slog.New(slog.DiscardHandler)); err == nil {
					s.Close()
				}
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error that names %s", err, tt.want)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}
