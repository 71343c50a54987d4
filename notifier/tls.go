package notifier

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"strings"

	"hirewire.dev/platform/serve"
)

func (c Config) grpcTLS() *serve.TLS {
	if c.GRPCTLSCert == "" {
		return nil
	}
	return &serve.TLS{
		CertFile: c.GRPCTLSCert.String(), KeyFile: c.GRPCTLSKey.String(),
		ClientCAFile: c.GRPCClientCA.String(), ClientNames: c.GRPCClientNames,
	}
}

func (c Config) httpTLS() *serve.TLS {
	if c.HTTPTLSCert == "" {
		return nil
	}
	return &serve.TLS{
		CertFile: c.HTTPTLSCert.String(), KeyFile: c.HTTPTLSKey.String(),
		ClientCAFile: c.GRPCClientCA.String(), ClientNames: c.GRPCClientNames, ClientOptional: true, // the API demands what gRPC does
	}
}

// loadRoots are the system's CAs and those of the file.
func loadRoots(file string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("holds no certificate")
	}
	return pool, nil
}

func loadCertificate(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return &cert, nil
}

// splitList splits a comma-separated list.
func splitList(text string) []string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
