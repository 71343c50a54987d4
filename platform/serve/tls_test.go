package serve_test

import (
	"bytes"
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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hirewire.dev/platform/serve"
)

// ca issues certificates for tests.
type ca struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	next int64
}

func newCA(t *testing.T) *ca {
	t.Helper()
	c := &ca{dir: t.TempDir(), next: 1}
	c.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	c.cert, _ = x509.ParseCertificate(der)
	c.pool = x509.NewCertPool()
	c.pool.AddCert(c.cert)
	write(t, c.file(), "CERTIFICATE", der)
	return c
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *ca) file() string { return filepath.Join(c.dir, "ca.pem") }

// issue writes a certificate for name; issuing the same name again renews its files.
func (c *ca) issue(t *testing.T, name string) serve.TLS {
	t.Helper()
	c.next++
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(c.next), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := serve.TLS{CertFile: filepath.Join(c.dir, name+".pem"), KeyFile: filepath.Join(c.dir, name+".key")}
	write(t, files.CertFile, "CERTIFICATE", der)
	write(t, files.KeyFile, "PRIVATE KEY", keyDER)
	return files
}

func (c *ca) client(t *testing.T, name string) *http.Client {
	t.Helper()
	hc := client(t)
	conf := &tls.Config{RootCAs: c.pool, ServerName: "localhost"}
	if name != "" {
		files := c.issue(t, name)
		cert, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	hc.Transport.(*http.Transport).TLSClientConfig = conf
	return hc
}

func TestClientCertificates(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	files := ca.issue(t, "localhost")
	files.ClientCAFile = ca.file()
	files.ClientNames = []string{"notifier.test"}
	s := startHTTP(t, serve.HTTPConfig{Handler: echoBody, TLS: &files})
	nobody := files
	nobody.ClientNames = nil
	closed := startHTTP(t, serve.HTTPConfig{Handler: echoBody, TLS: &nobody})
	optional := files
	optional.ClientOptional = true
	asks := startHTTP(t, serve.HTTPConfig{TLS: &optional, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !optional.Admits(r.TLS) {
			w.WriteHeader(http.StatusTeapot)
		}
	})})
	foreign := other.client(t, "notifier.test")
	foreign.Transport.(*http.Transport).TLSClientConfig.RootCAs = ca.pool
	old := ca.client(t, "notifier.test")
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	for _, tt := range []struct {
		name   string
		client *http.Client
		server *web
		want   int // 0: no handshake
	}{
		{"no certificate", ca.client(t, ""), s, 0},
		{"another CA's", foreign, s, 0},
		{"TLS 1.2", old, s, 0},
		{"another name", ca.client(t, "bank.test"), s, 403},
		{"the name", ca.client(t, "notifier.test"), s, 200},
		{"none, where it is optional", ca.client(t, ""), asks, 418},
		{"another CA's, where it is optional", foreign, asks, 0},
		{"another name, where it is optional", ca.client(t, "bank.test"), asks, 418},
		{"the name, where it is optional", ca.client(t, "notifier.test"), asks, 200},
		{"an empty list admits nobody", ca.client(t, "notifier.test"), closed, 403},
	} {
		if code, body := get(t, tt.client, tt.server.URL()+"/"); code != tt.want {
			t.Errorf("%s: %d %s", tt.name, code, body)
		}
	}
}

func TestCertificatesAreReloaded(t *testing.T) {
	ca := newCA(t)
	files := ca.issue(t, "localhost")
	var logged bytes.Buffer
	h, err := serve.NewHTTP(serve.HTTPConfig{Addr: "127.0.0.1:0", Handler: echoBody, TLS: &files, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.Run(ctx)
	}()
	serial := func() int64 {
		c, err := tls.Dial("tcp", h.Addr(), &tls.Config{RootCAs: ca.pool, ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	first := serial()
	if err := os.WriteFile(files.CertFile, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	if got := serial(); got != first {
		t.Errorf("after a broken file: %d", got)
	}
	ca.issue(t, "localhost")
	time.Sleep(1100 * time.Millisecond)
	if got := serial(); got != ca.next {
		t.Errorf("after renewal: %d, want %d", got, ca.next)
	}
	cancel()
	<-done
	if n := strings.Count(logged.String(), "do not load"); n != 1 {
		t.Errorf("logged %d times: %s", n, logged.String())
	}
}

func TestBrokenTLSFilesStopTheStart(t *testing.T) {
	files := newCA(t).issue(t, "localhost")
	missing := files
	missing.KeyFile += ".gone"
	noCA := files
	noCA.ClientCAFile = files.KeyFile
	for _, f := range []serve.TLS{missing, noCA} {
		if h, err := serve.NewHTTP(serve.HTTPConfig{Addr: "127.0.0.1:0", TLS: &f}); err == nil {
			_ = h.Close()
			t.Error("started")
		}
		if g, err := serve.NewGRPC(serve.GRPCConfig{Addr: "127.0.0.1:0", TLS: &f}); err == nil {
			_ = g.Close()
			t.Error("started")
		}
	}
}
