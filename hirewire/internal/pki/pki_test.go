package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"hirewire.dev/hirewire/internal/pki"
)

func TestIssuedCertificateServesItsHostsAndNoOther(t *testing.T) {
	authority, err := pki.NewAuthority("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue("bank-1", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	defer server.Close()

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM)
	for name, want := range map[string]bool{"127.0.0.1": true, "bank-1": true, "bank-2": false} {
		conn, err := tls.Dial("tcp", server.Listener.Addr().(*net.TCPAddr).String(), &tls.Config{RootCAs: roots, ServerName: name})
		if (err == nil) != want {
			t.Errorf("dial as %q: error %v, want success %v", name, err, want)
		}
		if err == nil {
			conn.Close()
		}
	}
}
