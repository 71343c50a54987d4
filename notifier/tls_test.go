package notifier_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/notifier"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/settings"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

// authority is a throw-away CA.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file settings.File
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign("test CA", nil)
	a.file = settings.File(a.write("ca.pem", "CERTIFICATE", a.cert.Raw))
	return a
}

func (a *authority) sign(name string, parent *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	issuer, issuerKey := template, key
	if parent == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		template.DNSNames, template.IPAddresses = []string{name}, []net.IP{net.IPv4(127, 0, 0, 1)}
		issuer, issuerKey = parent.cert, parent.key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// issue writes a certificate for the name and its key, and gives the files.
func (a *authority) issue(name string) (certFile, keyFile settings.File) {
	a.t.Helper()
	cert, key := a.sign(name, a)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return settings.File(a.write(name+".crt", "CERTIFICATE", cert.Raw)), settings.File(a.write(name+".key", "PRIVATE KEY", raw))
}

func (a *authority) write(name, kind string, raw []byte) string {
	a.t.Helper()
	file := filepath.Join(a.t.TempDir(), name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return file
}

func TestGRPCAsksForAClientCertificate(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	cfg := config(t, "sqlite:"+t.TempDir()+"/n.db")
	cfg.GRPCTLSCert, cfg.GRPCTLSKey = ca.issue("notifier.test")
	cfg.GRPCClientCA, cfg.GRPCClientNames = ca.file, []string{"employee-svc.test", "admin.test"}
	n := start(t, cfg)
	nobody := cfg
	nobody.DatabaseURL, nobody.GRPCClientNames = settings.DatabaseURL("sqlite:"+t.TempDir()+"/m.db"), nil
	closed := start(t, nobody)
	for name, c := range map[string]struct {
		n    *running
		from *authority
		as   string
		key  string
		want codes.Code
	}{
		"a known name":               {n, ca, "admin.test", keys["admin"], codes.OK},
		"a known name without a key": {n, ca, "admin.test", "", codes.Unauthenticated},
		"an unknown name":            {n, ca, "bank.test", keys["admin"], codes.PermissionDenied},
		"no certificate":             {n, nil, "", keys["admin"], codes.Unavailable},
		"another CA's":               {n, stranger, "admin.test", keys["admin"], codes.Unavailable},
		"no name is known":           {closed, ca, "admin.test", keys["admin"], codes.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			conf := serve.ClientConfig{Addr: c.n.GRPCAddr(), Key: c.key, CAFile: ca.file.String(), Timeout: 3 * time.Second}
			if c.from != nil {
				cert, key := c.from.issue(c.as)
				conf.CertFile, conf.KeyFile = cert.String(), key.String()
			}
			conn, err := serve.DialGRPC(conf)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, err = notifierv1.NewApiKeyServiceClient(conn).ListApiKeys(t.Context(), &notifierv1.ListApiKeysRequest{})
			if got := status.Code(err); got != c.want && (c.want != codes.Unavailable || got != codes.DeadlineExceeded) {
				t.Errorf("%v; want %s", err, c.want)
			}
		})
	}
}

// TestTheAPIAsksForTheCertificateThatGRPCAsksFor: an administrator's key alone does nothing over REST either.
func TestTheAPIAsksForTheCertificateThatGRPCAsksFor(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	cfg := config(t, "sqlite:"+t.TempDir()+"/n.db")
	cfg.GRPCTLSCert, cfg.GRPCTLSKey = ca.issue("notifier.test")
	cfg.GRPCClientCA, cfg.GRPCClientNames = ca.file, []string{"admin.test"}
	plain := "http://" + start(t, cfg).HTTPAddr()
	cfg.DatabaseURL = settings.DatabaseURL("sqlite:" + t.TempDir() + "/m.db")
	cfg.HTTPTLSCert, cfg.HTTPTLSKey = cfg.GRPCTLSCert, cfg.GRPCTLSKey
	secure := "https://" + start(t, cfg).HTTPAddr()
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	for _, tt := range []struct {
		name string
		base string
		from *authority
		as   string
		api  int // 0: no handshake
		open int // what needs no key
	}{
		{"plain HTTP", plain, nil, "", http.StatusForbidden, http.StatusOK},
		{"no certificate", secure, nil, "", http.StatusForbidden, http.StatusOK},
		{"an unknown name", secure, ca, "bank.test", http.StatusForbidden, http.StatusOK},
		{"another CA's", secure, stranger, "admin.test", 0, 0},
		{"a known name", secure, ca, "admin.test", http.StatusOK, http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conf := &tls.Config{RootCAs: pool}
			if tt.from != nil {
				cert, key := tt.from.issue(tt.as)
				pair, err := tls.LoadX509KeyPair(cert.String(), key.String())
				if err != nil {
					t.Fatal(err)
				}
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			transport := &http.Transport{TLSClientConfig: conf}
			defer transport.CloseIdleConnections()
			call := func(method, path, body string) int {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, method, tt.base+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+keys["admin"])
				req.Header.Set("Content-Type", "application/json")
				resp, err := transport.RoundTrip(req)
				if err != nil {
					return 0
				}
				defer resp.Body.Close()
				return resp.StatusCode
			}
			if got := call("POST", "/v1/apiKeys", `{"name":"mine","role":"ADMIN"}`); got != tt.api {
				t.Errorf("an admin key: %d, want %d", got, tt.api)
			}
			if tt.api != http.StatusOK { // that would last
				if got := call("GET", "/v1/deliveries:watch", ""); got != tt.api {
					t.Errorf("a stream: %d, want %d", got, tt.api)
				}
			}
			for _, path := range []string{"/healthz", "/readyz", "/metrics", "/openapi.json", "/.well-known/webhook-keys"} {
				if got := call("GET", path, ""); got != tt.open {
					t.Errorf("%s: %d, want %d", path, got, tt.open)
				}
			}
		})
	}
}

func TestReceiversMayAskForTheNotifiersCertificate(t *testing.T) {
	ca := newAuthority(t)
	cfg := config(t, "sqlite:"+t.TempDir()+"/n.db")
	cfg.CAFile = ca.file
	cfg.ClientCert, cfg.ClientKey = ca.issue("notifier.test")
	c := start(t, cfg).as(t, "bank-a")
	bare := cfg
	bare.DatabaseURL, bare.ClientCert, bare.ClientKey = settings.DatabaseURL("sqlite:"+t.TempDir()+"/m.db"), "", ""
	without := start(t, bare).as(t, "bank-a")

	certFile, keyFile := ca.issue("bank.test")
	pair, err := tls.LoadX509KeyPair(certFile.String(), keyFile.String())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	secret := webhook.NewSecret()
	receiver, err := webhook.NewReceiver(webhook.ReceiverConfig{
		Secrets: []webhook.Secret{secret}, Store: webhook.StoreFunc(func(context.Context, webhook.Delivery) error { return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 || r.TLS.PeerCertificates[0].VerifyHostname("notifier.test") != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		receiver.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)

	for name, c := range map[string]*client{"with": c, "without": without} {
		s, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{
			Subscription: &notifierv1.Subscription{Name: "x", Url: server.URL, Secret: secret.Reveal()},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.VerifySubscription(t.Context(), &notifierv1.VerifySubscriptionRequest{Id: s.GetId()})
		switch name {
		case "with":
			wantCode(t, "with a certificate", err, codes.OK)
		case "without":
			wantCode(t, "without one", err, codes.FailedPrecondition)
			if !strings.Contains(err.Error(), "TLS") {
				t.Errorf("the reason does not say that it is TLS: %v", err)
			}
		}
	}
}

func TestMisconfigurationsNameTheirSetting(t *testing.T) {
	ca := newAuthority(t)
	certFile, keyFile := ca.issue("notifier.test")
	for _, wrong := range []struct {
		setting string
		edit    func(*notifier.Config)
	}{
		{"NOTIFIER_GRPC_TLS_CERT", func(c *notifier.Config) { c.GRPCTLSCert = certFile }},
		{"NOTIFIER_CLIENT_CERT", func(c *notifier.Config) { c.ClientKey = keyFile }},
		{"NOTIFIER_GRPC_CLIENT_CA", func(c *notifier.Config) { c.GRPCClientCA = ca.file }},
		{"NOTIFIER_GRPC_CLIENT_NAMES", func(c *notifier.Config) { c.GRPCClientNames = []string{"x"} }},
		{"NOTIFIER_CA_FILE", func(c *notifier.Config) { c.CAFile = keyFile }},
		{"NOTIFIER_MASTER_KEY", func(c *notifier.Config) { c.MasterKey = notifier.MasterKey{} }},
		{"NOTIFIER_API_KEYS", func(c *notifier.Config) { c.APIKeys[0].Role = "king" }},
		{"NOTIFIER_API_KEYS", func(c *notifier.Config) { c.APIKeys[0].Name = "admin" }},
		{"NOTIFIER_API_KEYS", func(c *notifier.Config) { c.APIKeys[0].Key = c.AdminKey.Secret }},
		{"NOTIFIER_ALLOW_CIDRS", func(c *notifier.Config) { c.AllowCIDRs = allow("0.0.0.0/0") }},
		{"NOTIFIER_RETRY_SCHEDULE", func(c *notifier.Config) { c.RetrySchedule = nil }},
		{"NOTIFIER_WARN_AFTER", func(c *notifier.Config) { c.WarnAfter = c.DisableAfter + 1 }},
		{"NOTIFIER_RETENTION", func(c *notifier.Config) { c.Retention = 0 }},
		{"NOTIFIER_RETENTION", func(c *notifier.Config) { c.Retention = -time.Hour }},
		{"NOTIFIER_PAYLOAD_RETENTION", func(c *notifier.Config) { c.PayloadRetention = 0 }},
		{"NOTIFIER_ALLOW_CIDRS", func(c *notifier.Config) { c.AllowCIDRs = allow("::ffff:10.0.0.0/104") }},
		{"NOTIFIER_DATABASE_URL", func(c *notifier.Config) { c.DatabaseURL = "sqlite:/proc/nowhere/n.db" }},
		{"NOTIFIER_HTTP_ADDR", func(c *notifier.Config) { c.HTTPAddr = "203.0.113.1:1" }},
		{"NOTIFIER_GRPC_ADDR", func(c *notifier.Config) { c.GRPCAddr = "203.0.113.1:1" }},
	} {
		cfg := config(t, "sqlite:"+t.TempDir()+"/n.db")
		wrong.edit(&cfg)
		s, err := notifier.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
		switch {
		case err == nil:
			t.Errorf("%s: taken", wrong.setting)
			_ = s.Close()
		case s != nil:
			t.Errorf("%s: a service with an error", wrong.setting)
		case !strings.Contains(err.Error(), wrong.setting):
			t.Errorf("%s: %v", wrong.setting, err)
		}
	}
}
