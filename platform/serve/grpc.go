package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // so that a compressed request is decoded within the size limit
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// GRPCConfig is what a gRPC server is made of. Only Addr is required.
type GRPCConfig struct {
	Addr   string       // host:port; port 0 picks one
	Health *Health      // readiness, shown by the gRPC health service
	Logger *slog.Logger // nil: slog.Default()
	TLS    *TLS         // nil: plaintext, for loopback and private networks
	// Unary and Stream intercept every call, health included; see package rpc.
	Unary  grpc.UnaryServerInterceptor
	Stream grpc.StreamServerInterceptor
	// MaxMessage is the largest message in either direction, decoded, in bytes. 0: 1 MiB.
	MaxMessage int
	// MaxStreams is how many calls one connection may have open. 0: 100.
	MaxStreams uint32
	// Reflection answers questions about the API: for development.
	Reflection bool
	// StopTimeout is how long calls in flight may take to finish at the stop. 0: 3 s.
	StopTimeout time.Duration
	// Options are appended to the server's own.
	Options []grpc.ServerOption
}

// streamWorkers are goroutines that keep their stack from call to call, which saves about a twentieth of a small call; when
// all are busy a call gets a goroutine of its own.
const streamWorkers = 32

// window is how much may be sent ahead on a stream, and on a connection. It is fixed: gRPC's own estimate of what is best sends
// a ping and a window update with nearly every small call, and its two answers come back in packets of their own.
const window = 1 << 20

const (
	defaultMaxMessage = 1 << 20
	defaultMaxStreams = 100
	maxHeaderBytes    = 16 << 10
	handshakeTimeout  = 4900 * time.Millisecond // a little below 5 s, so that a slow client is gone by then
	gracefulTimeout   = 3 * time.Second
)

// GRPC is a bound gRPC server; register services with it (it is a grpc.ServiceRegistrar), then Run.
type GRPC struct {
	*grpc.Server
	listener net.Listener
	health   *health.Server
	watched  *Health
	stopping context.Context //nolint:containedctx // Ends when the stop begins.
	stop     context.CancelFunc
	log      *slog.Logger
	timeout  time.Duration
}

// NewGRPC binds the address and makes the server.
func NewGRPC(cfg GRPCConfig) (*GRPC, error) {
	log := cfg.Logger
	if log == nil {
		log = slog.Default()
	}
	maxMessage := cfg.MaxMessage
	if maxMessage <= 0 {
		maxMessage = defaultMaxMessage
	}
	maxStreams := cfg.MaxStreams
	if maxStreams == 0 {
		maxStreams = defaultMaxStreams
	}
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 10 * time.Minute,
			MaxConnectionAge:  30 * time.Minute, MaxConnectionAgeGrace: time.Minute,
			Time: time.Minute, Timeout: 10 * time.Second,
		}),
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(window),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.WaitForHandlers(true), // a handler must not outlive the database
	}
	if cfg.TLS != nil {
		conf, err := cfg.TLS.config(log, "h2")
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.Creds(credentials.NewTLS(conf)))
		if cfg.TLS.ClientCAFile != "" {
			options = append(options, grpc.ChainUnaryInterceptor(cfg.TLS.unary), grpc.ChainStreamInterceptor(cfg.TLS.stream))
		}
	}
	g := &GRPC{health: health.NewServer(), watched: cfg.Health, log: log, timeout: cfg.StopTimeout}
	g.stopping, g.stop = context.WithCancel(context.Background())
	options = append(options, grpc.ChainStreamInterceptor(g.endStreams))
	if cfg.Unary != nil {
		options = append(options, grpc.ChainUnaryInterceptor(cfg.Unary))
	}
	if cfg.Stream != nil {
		options = append(options, grpc.ChainStreamInterceptor(cfg.Stream))
	}
	listener, err := net.Listen("tcp", cfg.Addr) //nolint:noctx // Binding is immediate; there is nothing to cancel.
	if err != nil {
		g.stop()
		return nil, fmt.Errorf("listen for gRPC: %w", err)
	}
	g.listener, g.Server = listener, grpc.NewServer(append(options, cfg.Options...)...)
	if g.timeout <= 0 {
		g.timeout = gracefulTimeout
	}
	healthpb.RegisterHealthServer(g.Server, g.health)
	if cfg.Reflection {
		reflection.Register(g.Server)
	}
	return g, nil
}

// Addr is the bound address.
func (g *GRPC) Addr() string { return g.listener.Addr().String() }

// Close frees the address of a server that was never run, and ends its workers.
func (g *GRPC) Close() error {
	g.stop()
	g.Stop()
	return g.listener.Close()
}

// Run serves until ctx ends, then finishes the calls in flight, and cuts off those that take longer than StopTimeout.
func (g *GRPC) Run(ctx context.Context) error {
	g.follow()
	served := make(chan error, 1)
	go func() { served <- g.Serve(g.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve gRPC: %w", err)
	case <-ctx.Done():
	}
	g.health.Shutdown()
	g.stop()
	graceful := make(chan struct{})
	go func() {
		g.GracefulStop()
		close(graceful)
	}()
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	select {
	case <-graceful:
	case <-timer.C:
		g.log.Warn("gRPC calls still open at the stop are cut off")
		g.Stop()
		<-graceful
	}
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC: %w", err)
	}
	return nil
}

// follow makes the health service tell the readiness.
func (g *GRPC) follow() {
	set := func(ready bool) {
		state := healthpb.HealthCheckResponse_NOT_SERVING
		if ready {
			state = healthpb.HealthCheckResponse_SERVING
		}
		g.health.SetServingStatus("", state)
		for service := range g.GetServiceInfo() {
			g.health.SetServingStatus(service, state)
		}
	}
	if g.watched == nil {
		set(true)
		return
	}
	g.watched.Watch(set)
}

func (t TLS) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if !t.admitsCall(ctx) {
		return nil, errUnknownPeer
	}
	return handler(ctx, req)
}

func (t TLS) stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !t.admitsCall(ss.Context()) {
		return errUnknownPeer
	}
	return handler(srv, ss)
}

var errUnknownPeer = status.Error(codes.PermissionDenied, "the client certificate's name may not call this service")

func (t TLS) admitsCall(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	return ok && t.Admits(&info.State)
}
