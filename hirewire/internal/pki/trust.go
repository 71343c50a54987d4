package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Trust returns a client's TLS configuration that trusts the authority in caFile, PEM; without a file, the system's.
func Trust(caFile string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the authority's certificate: %s holds none", caFile)
	}
	return cfg, nil
}
