package banksvc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// pair is a throw-away certificate for loopback, its own authority, for servers and clients.
type pair struct {
	dir, cert, key string
	pool           *x509.CertPool
}

func (p pair) client() *tls.Config { return &tls.Config{RootCAs: p.pool, MinVersion: tls.VersionTLS12} }

// certs is the pair that all banks of the tests share.
var certs = sync.OnceValue(func() pair {
	p, err := newPair()
	if err != nil {
		panic(err)
	}
	return p
})

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(certs().dir)
		os.Exit(code)
	}))
}

func newPair() (p pair, err error) {
	if p.dir, err = os.MkdirTemp("", "bank-tls-"); err != nil {
		return p, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return p, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost", "notifier.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err1 := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	pkcs8, err2 := x509.MarshalPKCS8PrivateKey(key)
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	p.cert, p.key, p.pool = filepath.Join(p.dir, "tls.crt"), filepath.Join(p.dir, "tls.key"), x509.NewCertPool()
	p.pool.AppendCertsFromPEM(crt)
	return p, errors.Join(err1, err2, os.WriteFile(p.cert, crt, 0o600),
		os.WriteFile(p.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
}
