package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// HTTPConfig is what an HTTP server is made of. Only Addr and Handler are required.
type HTTPConfig struct {
	Addr    string // host:port; port 0 picks one
	Handler http.Handler
	Health  *Health             // shown at /readyz
	Metrics prometheus.Gatherer // shown at /metrics; nil: no /metrics
	Logger  *slog.Logger        // nil: slog.Default()
	TLS     *TLS                // nil: plaintext
	HSTS    bool                // with TLS: tell clients to stay with https
	// MaxBody is the largest request body in bytes. 0: 1 MiB.
	MaxBody int64
	// MaxConns is how many connections may be open. Above it the one that is idle for longest is closed. 0: 10,000.
	MaxConns int
	// StopTimeout is how long requests in flight may take to finish at the stop. 0: 3 s.
	StopTimeout time.Duration
}

// The read limits are a little below 5 s and 10 s, so that a slow client is gone by then.
const (
	readHeaderTimeout = 4900 * time.Millisecond
	readTimeout       = 9900 * time.Millisecond
	writeTimeout      = 15 * time.Second
	idleTimeout       = 60 * time.Second
	defaultMaxConns   = 10_000
	defaultMaxBody    = 1 << 20
)

// HTTP is a bound HTTP server.
type HTTP struct {
	server   *http.Server
	guard    *guard
	listener *listener
	secure   bool
	stopping context.Context //nolint:containedctx // Ends when the stop begins; every request's context carries it.
	stop     context.CancelFunc
	log      *slog.Logger
	timeout  time.Duration
}

// NewHTTP binds the address and makes the server.
func NewHTTP(cfg HTTPConfig) (*HTTP, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = defaultMaxBody
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = defaultMaxConns
	}
	if cfg.StopTimeout <= 0 {
		cfg.StopTimeout = gracefulTimeout
	}
	var conf *tls.Config
	if cfg.TLS != nil {
		var err error
		if conf, err = cfg.TLS.config(cfg.Logger, "http/1.1"); err != nil {
			return nil, err
		}
	}
	bound, err := net.Listen("tcp", cfg.Addr) //nolint:noctx // Binding is immediate; there is nothing to cancel.
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP: %w", err)
	}
	l := newListener(bound, conf, cfg.MaxConns)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	stopping, stop := context.WithCancel(context.Background())
	g := newGuard(cfg)
	return &HTTP{
		guard: g, listener: l, secure: conf != nil, stopping: stopping, stop: stop, log: cfg.Logger, timeout: cfg.StopTimeout,
		server: &http.Server{
			Handler:           g,
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			Protocols:         protocols,
			// net/http would answer "OPTIONS *" with 200, past the guard.
			DisableGeneralOptionsHandler: true,
			BaseContext: func(net.Listener) context.Context {
				return context.WithValue(context.Background(), stoppingKey{}, stopping)
			},
			ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
			ConnState:   l.state,
			ErrorLog:    slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		},
	}, nil
}

// Addr is the bound address.
func (h *HTTP) Addr() string { return h.listener.Addr().String() }

// URL is the bound address as a URL, without a path.
func (h *HTTP) URL() string {
	if h.secure {
		return "https://" + h.Addr()
	}
	return "http://" + h.Addr()
}

// Close frees the address of a server that was never run.
func (h *HTTP) Close() error {
	h.stop()
	return h.listener.Close()
}

// Run serves until ctx ends, then finishes the requests in flight, and cuts off those that take longer than StopTimeout.
func (h *HTTP) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(h.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	h.stop()
	h.listener.quiet()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.timeout)
	defer cancel()
	if err := h.server.Shutdown(limit); err != nil {
		h.log.Warn("HTTP requests still open at the stop are cut off")
		if err := h.server.Close(); err != nil {
			return fmt.Errorf("close HTTP: %w", err)
		}
		h.guard.wait()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

// metricsHandler exposes a registry.
func metricsHandler(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: writeTimeout / 2})
}
