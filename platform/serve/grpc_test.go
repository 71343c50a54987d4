package serve_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"hirewire.dev/platform/internal/testpb"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

// things is a service whose methods wait as a test says.
type things struct {
	testpb.UnimplementedThingServiceServer
	called atomic.Int32
	unary  func(context.Context) error
	watch  func(context.Context) error
}

func (s *things) GetThing(ctx context.Context, in *testpb.GetThingRequest) (*testpb.Thing, error) {
	s.called.Add(1)
	if s.unary != nil {
		return &testpb.Thing{Id: in.GetId()}, s.unary(ctx)
	}
	return &testpb.Thing{Id: in.GetId()}, nil
}

func (s *things) WatchThings(_ *testpb.WatchThingsRequest, out grpc.ServerStreamingServer[testpb.Thing]) error {
	if err := out.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	return s.watch(out.Context())
}

type rpcServer struct {
	*serve.GRPC
	things *things
	stop   func() error
}

func startGRPC(t *testing.T, cfg serve.GRPCConfig) *rpcServer {
	t.Helper()
	cfg.Addr, cfg.Logger = "127.0.0.1:0", quiet
	g, err := serve.NewGRPC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &rpcServer{GRPC: g, things: &things{}}
	testpb.RegisterThingServiceServer(g, s.things)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = g.Run(ctx)
	}()
	s.stop = func() error {
		cancel()
		<-done
		return err
	}
	t.Cleanup(func() { _ = s.stop() })
	return s
}

func dial(t *testing.T, cfg serve.ClientConfig) *grpc.ClientConn {
	t.Helper()
	conn, err := serve.DialGRPC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func call(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) error {
	_, err := testpb.NewThingServiceClient(conn).GetThing(ctx, &testpb.GetThingRequest{Id: "a"}, opts...)
	return err
}

func TestGRPCLimits(t *testing.T) {
	s := startGRPC(t, serve.GRPCConfig{})
	conn := dial(t, serve.ClientConfig{Addr: s.Addr()})
	c := testpb.NewThingServiceClient(conn)
	if err := call(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	before := s.things.called.Load()
	_, err := c.GetThing(t.Context(), &testpb.GetThingRequest{Id: strings.Repeat("a", 1025<<10)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("1,025 KiB: %v", err)
	}
	_, err = c.GetThing(metadata.AppendToOutgoingContext(t.Context(), "a", strings.Repeat("a", 20<<10)), &testpb.GetThingRequest{Id: "a"})
	if err == nil {
		t.Error("20 KiB of metadata passed")
	}
	if err := conn.Invoke(t.Context(), "/hirewire.platform.test.v1.ThingService/Unknown", &testpb.GetThingRequest{}, &testpb.Thing{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("unknown method: %v", err)
	}
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("reflection: %v", err)
	}
	if n := s.things.called.Load(); n != before {
		t.Errorf("the handler ran %d times", n-before)
	}
	if err := call(t.Context(), conn); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// post sends one HTTP/2 request with a gRPC body, as no gRPC client would.
func post(t *testing.T, addr, path, encoding string, body []byte) (grpcStatus string) {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	if encoding != "" {
		r.Header.Set("Grpc-Encoding", encoding)
	}
	resp, err := (&http.Client{Transport: tr}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status")
}

func frame(compressed byte, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{compressed}, uint32(len(payload))), payload...)
}

func TestGRPCHostileFrames(t *testing.T) {
	s := startGRPC(t, serve.GRPCConfig{})
	var bomb bytes.Buffer
	zip, _ := gzip.NewWriterLevel(&bomb, gzip.BestCompression)
	zeros := make([]byte, 1<<20)
	for range 16 {
		_, _ = zip.Write(zeros)
	}
	_ = zip.Close()
	path := testpb.ThingService_GetThing_FullMethodName
	for _, tt := range []struct {
		name, path, encoding string
		body                 []byte
		want                 string
	}{
		{"a gzip bomb", path, "gzip", frame(1, bomb.Bytes()), "8"},
		{"an unknown encoding", path, "zstd", frame(1, []byte("x")), "12"},
		{"field number 0", path, "", frame(0, []byte{0x02, 0x00}), "13"},
		{"wire type 7", path, "", frame(0, []byte{0x0f}), "13"},
		{"nested groups", path, "", frame(0, bytes.Repeat([]byte{0x7b}, 20_000)), "13"},
		{"invalid UTF-8", path, "", frame(0, []byte{0x0a, 2, 0xc3, 0x28}), "13"},
		{"an unknown service", "/a.B/C", "", frame(0, nil), "12"},
		{"no method", "/a", "", frame(0, nil), "12"},
	} {
		if got := post(t, s.Addr(), tt.path, tt.encoding, tt.body); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if n := s.things.called.Load(); n > 0 {
		t.Errorf("the handler ran %d times", n)
	}
}

func TestGRPCReflectionByFlag(t *testing.T) {
	s := startGRPC(t, serve.GRPCConfig{Reflection: true})
	stream, err := reflectionpb.NewServerReflectionClient(dial(t, serve.ClientConfig{Addr: s.Addr()})).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	answer, err := stream.Recv()
	if err != nil || len(answer.GetListServicesResponse().GetService()) < 2 {
		t.Errorf("%v %v", answer, err)
	}
}

func TestGRPCHealthFollowsReadiness(t *testing.T) {
	health := serve.NewHealth(quiet)
	down := atomic.Bool{}
	health.Add("database", func(context.Context) error {
		if down.Load() {
			return errors.New("down")
		}
		return nil
	})
	s := startGRPC(t, serve.GRPCConfig{Health: health})
	conn := dial(t, serve.ClientConfig{Addr: s.Addr()})
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "hirewire.platform.test.v1.ThingService"})
	if err != nil {
		t.Fatal(err)
	}
	next := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for {
			got, err := watch.Recv()
			if err != nil {
				t.Fatalf("waiting for %v: %v", want, err)
			}
			if got.GetStatus() == want {
				return
			}
		}
	}
	next(healthpb.HealthCheckResponse_NOT_SERVING)
	g := serve.NewGroup(quiet, health)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	next(healthpb.HealthCheckResponse_SERVING)
	down.Store(true)
	next(healthpb.HealthCheckResponse_NOT_SERVING)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestGRPCStopFinishesWhatIsInFlight(t *testing.T) {
	s := startGRPC(t, serve.GRPCConfig{})
	entered, release := make(chan struct{}), make(chan struct{})
	s.things.unary = func(context.Context) error {
		close(entered)
		<-release
		return nil
	}
	s.things.watch = func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	conn := dial(t, serve.ClientConfig{Addr: s.Addr()})
	watch, err := testpb.NewThingServiceClient(conn).WatchThings(t.Context(), &testpb.WatchThingsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Header(); err != nil {
		t.Fatal(err)
	}
	result, stopped := make(chan error, 1), make(chan error, 1)
	go func() { result <- call(t.Context(), conn) }()
	<-entered
	began := time.Now()
	go func() { stopped <- s.stop() }()
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the watcher got %v", err)
	}
	close(release)
	if err := <-result; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestGRPCStopCutsOffWhatHangs(t *testing.T) {
	s := startGRPC(t, serve.GRPCConfig{StopTimeout: 50 * time.Millisecond})
	entered := make(chan struct{})
	s.things.unary = func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}
	conn := dial(t, serve.ClientConfig{Addr: s.Addr()})
	result := make(chan error, 1)
	go func() { result <- call(t.Context(), conn) }()
	<-entered
	began := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if err := <-result; err == nil {
		t.Error("the call ended well")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestGRPCClientCertificates(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	files := ca.issue(t, "localhost")
	files.ClientCAFile = ca.file()
	files.ClientNames = []string{"bank.test"}
	s := startGRPC(t, serve.GRPCConfig{TLS: &files})
	nobody := files
	nobody.ClientNames = nil
	closed := startGRPC(t, serve.GRPCConfig{TLS: &nobody})
	foreign := other.issue(t, "bank.test")
	for _, tt := range []struct {
		name   string
		cert   serve.TLS
		server *rpcServer
		want   codes.Code
	}{
		{"no certificate", serve.TLS{}, s, codes.Unavailable},
		{"another CA's", foreign, s, codes.Unavailable},
		{"another name", ca.issue(t, "other.test"), s, codes.PermissionDenied},
		{"the name", ca.issue(t, "bank.test"), s, codes.OK},
		{"an empty list admits nobody", ca.issue(t, "bank.test"), closed, codes.PermissionDenied},
	} {
		conn := dial(t, serve.ClientConfig{Addr: tt.server.Addr(), CAFile: ca.file(), CertFile: tt.cert.CertFile, KeyFile: tt.cert.KeyFile})
		if err := call(t.Context(), conn); status.Code(err) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestDialGRPC(t *testing.T) {
	var got atomic.Value
	unary := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		deadline, _ := ctx.Deadline()
		got.Store([]any{strings.Join(md.Get("authorization"), ","), time.Until(deadline)})
		return h(ctx, req)
	}
	ca := newCA(t)
	files := ca.issue(t, "localhost")
	plain := startGRPC(t, serve.GRPCConfig{Unary: unary})
	secure := startGRPC(t, serve.GRPCConfig{Unary: unary, TLS: &files})
	for _, cfg := range []serve.ClientConfig{
		{Addr: plain.Addr(), Key: "k"},
		{Addr: secure.Addr(), Key: "k", CAFile: ca.file()},
	} {
		if err := call(t.Context(), dial(t, cfg)); err != nil {
			t.Fatal(err)
		}
		seen := got.Load().([]any)
		if seen[0] != "Bearer k" || seen[1].(time.Duration) > 10*time.Second || seen[1].(time.Duration) < 5*time.Second {
			t.Errorf("%v", seen)
		}
	}
	if err := call(t.Context(), dial(t, serve.ClientConfig{Addr: secure.Addr(), Key: "k", TLS: true})); status.Code(err) != codes.Unavailable {
		t.Errorf("an unknown CA: %v", err)
	}
	if _, err := serve.DialGRPC(serve.ClientConfig{Addr: "notifier.internal:9002", Key: "secret-key"}); err == nil || strings.Contains(err.Error(), "secret-key") {
		t.Errorf("a key in clear: %v", err)
	}
	if conn, err := serve.DialGRPC(serve.ClientConfig{Addr: "notifier.internal:9002", Key: "k", Plaintext: true}); err != nil {
		t.Error(err)
	} else {
		_ = conn.Close()
	}
	if _, err := serve.DialGRPC(serve.ClientConfig{Addr: "a:1", CAFile: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing CA: %v", err)
	}
}

func TestDialGRPCFindsTheServerAgain(t *testing.T) {
	s := startGRPC(t, serve.GRPCConfig{})
	addr := s.Addr()
	conn := dial(t, serve.ClientConfig{Addr: addr})
	if err := call(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	_ = s.stop()
	if err := call(t.Context(), conn); status.Code(err) != codes.Unavailable {
		t.Fatalf("while it is away: %v", err)
	}
	g, err := serve.NewGRPC(serve.GRPCConfig{Addr: addr, Logger: quiet})
	if err != nil {
		sqldbtest.LeaveOut(t, fmt.Sprintf("a server that comes back: its port is taken: %v", err))
	}
	testpb.RegisterThingServiceServer(g, &things{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	began := time.Now()
	if err := call(t.Context(), conn, grpc.WaitForReady(true)); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("found after %v", took)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestGRPCRefusesPlaintextOnTLS(t *testing.T) {
	files := newCA(t).issue(t, "localhost")
	s := startGRPC(t, serve.GRPCConfig{TLS: &files})
	if err := call(t.Context(), dial(t, serve.ClientConfig{Addr: s.Addr()})); status.Code(err) != codes.Unavailable {
		t.Errorf("plaintext: %v", err)
	}
	old := credentials.NewTLS(&tls.Config{MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true})
	for _, creds := range []credentials.TransportCredentials{old, insecure.NewCredentials()} {
		conn, err := grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(creds))
		if err != nil {
			t.Fatal(err)
		}
		if err := call(t.Context(), conn); err == nil {
			t.Error("a call")
		}
		_ = conn.Close()
	}
}
