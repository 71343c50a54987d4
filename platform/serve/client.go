package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// ClientConfig is how to reach a gRPC server. Only Addr is required.
type ClientConfig struct {
	Addr string // host:port; a name with several addresses is spread over all of them
	Key  string // sent as "authorization: Bearer KEY"; empty: none
	// CAFile verifies the server; setting it turns TLS on.
	CAFile string
	// TLS turns TLS on with the system's roots.
	TLS bool
	// ServerName is the name in the server's certificate when it is not the host of Addr.
	ServerName string
	// CertFile and KeyFile are the client's certificate, where the server asks for one.
	CertFile, KeyFile string
	// Plaintext allows sending Key without TLS beyond loopback: for a private network.
	Plaintext bool
	// Timeout is the deadline of unary calls that bring none. 0: 10 s.
	Timeout time.Duration
	// MaxMessage is the largest message in either direction, in bytes. 0: 4 MiB.
	MaxMessage int
	// Options are appended to the client's own.
	Options []grpc.DialOption
}

// DialGRPC makes a connection; it connects when it is first used, and again, within about 3 s, whenever the server is back.
// Calls are not repeated by it: whoever calls knows what may be repeated.
func DialGRPC(cfg ClientConfig) (*grpc.ClientConn, error) {
	transport, err := cfg.credentials()
	if err != nil {
		return nil, err
	}
	timeout, size := cfg.Timeout, cfg.MaxMessage
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	if size <= 0 {
		size = 4 << 20
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithDisableRetry(),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(size), grpc.MaxCallSendMsgSize(size)),
		grpc.WithMaxHeaderListSize(maxHeaderBytes),
		grpc.WithStaticStreamWindowSize(window),
		grpc.WithStaticConnWindowSize(window),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: .2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithChainUnaryInterceptor(deadline(timeout)),
	}
	if cfg.Key != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearerKey{"Bearer " + cfg.Key}))
	}
	conn, err := grpc.NewClient(cfg.Addr, append(options, cfg.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", cfg.Addr, err)
	}
	return conn, nil
}

var errPlaintextKey = errors.New("refusing to send a key without TLS beyond loopback")

func (cfg ClientConfig) credentials() (credentials.TransportCredentials, error) {
	if !cfg.TLS && cfg.CAFile == "" && cfg.CertFile == "" {
		if cfg.Key != "" && !cfg.Plaintext && !isLoopback(cfg.Addr) {
			return nil, fmt.Errorf("dial %s: %w", cfg.Addr, errPlaintextKey)
		}
		return insecure.NewCredentials(), nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName}
	if cfg.CAFile != "" {
		pool, err := loadCAs(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = pool
	}
	if cfg.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile); err != nil {
			return nil, fmt.Errorf("load client certificate: %w", err)
		}
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile) // at each handshake, so that a renewed one is used
			return &cert, err
		}
	}
	return credentials.NewTLS(conf), nil
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func deadline(limit time.Duration) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		return invoker(ctx, method, req, reply, cc, opts...)
	}
}

// bearerKey are per-call credentials that also work without TLS; credentials refuses where that is not allowed.
type bearerKey struct{ authorization string }

func (k bearerKey) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": k.authorization}, nil
}

func (bearerKey) RequireTransportSecurity() bool { return false }
