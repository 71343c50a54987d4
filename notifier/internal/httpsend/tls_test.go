package httpsend_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/httpsend"
)

// authority is a throw-away CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(tb testing.TB) authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return authority{cert, key, pool}
}

func (ca authority) issue(tb testing.TB, change func(*x509.Certificate)) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "receiver"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tlsServer answers 200 and counts the bytes of requests that it got, its connections and the resumed ones.
func tlsServer(tb testing.TB, cfg *tls.Config) (url string, got, conns, resumed *atomic.Int64) {
	tb.Helper()
	got, resumed = new(atomic.Int64), new(atomic.Int64)
	url, conns = rawServer(tb, func(c net.Conn) {
		secure := tls.Server(c, cfg)
		defer secure.Close()
		if secure.Handshake() != nil {
			return
		}
		if secure.ConnectionState().DidResume {
			resumed.Add(1)
		}
		r := bufio.NewReader(io.TeeReader(secure, counter{got}))
		for readRequest(r) == nil {
			if _, err := io.WriteString(secure, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
				return
			}
		}
	})
	return strings.Replace(url, "http:", "https:", 1), got, conns, resumed
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}

// F41, CWE-295: what is wrong with a receiver's TLS, and that it never gets to see the body.
func TestTLS(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	good := ca.issue(t, nil)
	selfSigned := func() tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(3), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}()
	one := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	old := func(version uint16) *tls.Config {
		c := one(good)
		c.MinVersion, c.MaxVersion = version, version
		return c
	}
	for name, tt := range map[string]struct {
		cfg  *tls.Config
		want delivery.Outcome
	}{
		"TLS 1.3":       {old(tls.VersionTLS13), delivery.OutcomeDelivered},
		"TLS 1.2":       {old(tls.VersionTLS12), delivery.OutcomeDelivered},
		"TLS 1.1":       {old(tls.VersionTLS11), delivery.OutcomeTLS},
		"TLS 1.0":       {old(tls.VersionTLS10), delivery.OutcomeTLS},
		"expired":       {one(ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), delivery.OutcomeTLS},
		"not yet valid": {one(ca.issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })), delivery.OutcomeTLS},
		"wrong host":    {one(ca.issue(t, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.test"} })), delivery.OutcomeTLS},
		"common name only": {one(ca.issue(t, func(c *x509.Certificate) {
			c.IPAddresses, c.Subject.CommonName = nil, "127.0.0.1"
		})), delivery.OutcomeTLS},
		"not for servers": {one(ca.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })), delivery.OutcomeTLS},
		"unknown CA":      {one(stranger.issue(t, nil)), delivery.OutcomeTLS},
		"self-signed":     {one(selfSigned), delivery.OutcomeTLS},
		"RC4 only": {&tls.Config{
			Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA},
		}, delivery.OutcomeTLS},
		"HTTP/1.1 too": {&tls.Config{Certificates: []tls.Certificate{good}, NextProtos: []string{"h2", "http/1.1"}}, delivery.OutcomeDelivered},
		"asks for a client certificate": {&tls.Config{
			Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool,
		}, delivery.OutcomeTLS},
		"asks for a client certificate, TLS 1.2": {&tls.Config{
			Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool, MaxVersion: tls.VersionTLS12,
		}, delivery.OutcomeTLS},
	} {
		url, got, _, _ := tlsServer(t, tt.cfg)
		a := newSender(t, httpsend.Config{RootCAs: ca.pool}).Send(t.Context(), request(t, url))
		if a.Outcome != tt.want {
			t.Errorf("%s: %+v", name, a)
		}
		if tt.want != delivery.OutcomeDelivered && (got.Load() != 0 || a.Error == "") {
			t.Errorf("%s: the receiver read %d bytes; error %q", name, got.Load(), a.Error)
		}
	}
}

func TestPlainServerAtAnHTTPSAddress(t *testing.T) {
	t.Parallel()
	for _, handle := range []func(net.Conn){
		func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		func(c net.Conn) { _, _ = c.Read(make([]byte, 10)) },
	} {
		url, _ := rawServer(t, handle)
		a := newSender(t, httpsend.Config{}).Send(t.Context(), request(t, strings.Replace(url, "http:", "https:", 1)))
		if a.Outcome != delivery.OutcomeTLS {
			t.Errorf("%+v", a)
		}
	}
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	client := ca.issue(t, nil)
	url, _, _, _ := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, nil)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool})
	a := newSender(t, httpsend.Config{RootCAs: ca.pool, ClientCertificate: &client}).Send(t.Context(), request(t, url))
	if a.Outcome != delivery.OutcomeDelivered {
		t.Errorf("%+v", a)
	}
}

func TestSessionsAreResumed(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, nil)}}
	url, _, conns, resumed := tlsServer(t, cfg)
	sender := newSender(t, httpsend.Config{RootCAs: ca.pool})
	for range 3 {
		if a := sender.Send(t.Context(), request(t, url)); a.Outcome != delivery.OutcomeDelivered {
			t.Fatalf("%+v", a)
		}
	}
	if conns.Load() != 1 {
		t.Errorf("%d connections for requests one after the other", conns.Load())
	}
	// Two at once need a second connection.
	blocked := make(chan delivery.Attempt)
	ctx := t.Context()
	for range 8 {
		go func() { blocked <- sender.Send(ctx, request(t, url)) }()
	}
	for range 8 {
		if a := <-blocked; a.Outcome != delivery.OutcomeDelivered {
			t.Errorf("%+v", a)
		}
	}
	if conns.Load() > 1 && resumed.Load() == 0 {
		t.Errorf("%d connections, none resumed", conns.Load())
	}
}

// joined holds what is written until it is let go, in one piece.
type joined struct {
	net.Conn
	hold bool
	held []byte
}

func (j *joined) Write(b []byte) (int, error) {
	if j.hold {
		j.held = append(j.held, b...)
		return len(b), nil
	}
	return j.Conn.Write(b)
}

func (j *joined) release() error {
	_, err := j.Conn.Write(j.held)
	j.hold, j.held = false, nil
	return err
}

// A second answer that comes with the first, in a record of its own, is no answer to the next event.
func TestAnAnswerToNothingOverTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, nil)}, MaxVersion: version}
		url, conns := rawServer(t, func(c net.Conn) {
			j := &joined{Conn: c}
			secure := tls.Server(j, cfg)
			for r := bufio.NewReader(secure); readRequest(r) == nil; {
				j.hold = true
				for _, answer := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"} {
					_, _ = io.WriteString(secure, answer)
				}
				if j.release() != nil {
					return
				}
			}
		})
		sender := newSender(t, httpsend.Config{RootCAs: ca.pool})
		for range 3 {
			if a := sender.Send(t.Context(), request(t, strings.Replace(url, "http:", "https:", 1))); a.Outcome != delivery.OutcomeDelivered {
				t.Errorf("%s: %+v", tls.VersionName(version), a)
			}
		}
		if conns.Load() != 3 {
			t.Errorf("%s: %d connections", tls.VersionName(version), conns.Load())
		}
	}
}
