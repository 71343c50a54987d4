package serve

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// TLS names the files of a listener's TLS. They are read again when they change; while what is there cannot be loaded, the
// last good ones stay in use.
type TLS struct {
	CertFile, KeyFile string // PEM
	// ClientCAFile, when set, makes a client certificate from that CA a condition of the handshake, which is then TLS 1.3.
	ClientCAFile string
	// ClientOptional lets clients without a certificate connect, where only a part of what is served demands one: that part
	// asks Admits.
	ClientOptional bool
	// ClientNames are the DNS or URI names, one of which the client's certificate must carry: else PERMISSION_DENIED or 403.
	// Only with ClientCAFile. Empty: nobody.
	ClientNames []string
}

// reloadInterval bounds how often the files are looked at.
const reloadInterval = time.Second

// keypairs serves the present certificates of a TLS.
type keypairs struct {
	files TLS
	log   *slog.Logger

	mu     sync.Mutex
	stamp  string // of the files that conf was made from, or failed to be
	looked time.Time
	conf   *tls.Config
}

// config makes the listener's tls.Config; it fails when the files do not load.
func (t TLS) config(log *slog.Logger, protocols ...string) (*tls.Config, error) {
	k := &keypairs{files: t, log: log}
	conf, err := t.load(protocols)
	if err != nil {
		return nil, err
	}
	k.conf, k.stamp, k.looked = conf, t.stamp(), time.Now()
	outer := conf.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.current(protocols), nil }
	return outer, nil
}

func (k *keypairs) current(protocols []string) *tls.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.looked) < reloadInterval {
		return k.conf
	}
	k.looked = time.Now()
	stamp := k.files.stamp()
	if stamp == k.stamp {
		return k.conf
	}
	k.stamp = stamp
	conf, err := k.files.load(protocols)
	if err != nil {
		k.log.Error("TLS files changed but do not load; the last good ones stay in use", "error", err)
		return k.conf
	}
	k.log.Info("TLS files reloaded", "cert", k.files.CertFile)
	k.conf = conf
	return conf
}

// stamp changes whenever one of the files does.
func (t TLS) stamp() string {
	var s strings.Builder
	for _, name := range []string{t.CertFile, t.KeyFile, t.ClientCAFile} {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			fmt.Fprintf(&s, "%d %d;", info.ModTime().UnixNano(), info.Size())
		} else {
			s.WriteString("missing;")
		}
	}
	return s.String()
}

func (t TLS) load(protocols []string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load TLS certificate: %w", err)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: protocols}
	if t.ClientCAFile != "" {
		if conf.ClientCAs, err = loadCAs(t.ClientCAFile); err != nil {
			return nil, err
		}
		conf.ClientAuth = tls.RequireAndVerifyClientCert
		if t.ClientOptional {
			conf.ClientAuth = tls.VerifyClientCertIfGiven
		}
		conf.MinVersion = tls.VersionTLS13 // before it certificates go in the clear
	}
	return conf, nil
}

func loadCAs(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load CA %s: %w", file, errNoCert)
	}
	return pool, nil
}

var errNoCert = errors.New("no certificate in the file")

// Admits reports whether the peer's certificate carries one of the names. Without a ClientCAFile everybody is admitted; with
// one, nobody who came without TLS.
func (t TLS) Admits(state *tls.ConnectionState) bool {
	if t.ClientCAFile == "" {
		return true
	}
	if state == nil || len(state.VerifiedChains) == 0 {
		return false
	}
	leaf := state.VerifiedChains[0][0]
	for _, name := range leaf.DNSNames {
		if slices.Contains(t.ClientNames, name) {
			return true
		}
	}
	for _, uri := range leaf.URIs {
		if slices.Contains(t.ClientNames, uri.String()) {
			return true
		}
	}
	return false
}
