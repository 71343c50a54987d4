package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"

	"hirewire.dev/platform/internal/testpb"
	"hirewire.dev/platform/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	writerKey = "writer-key-writer-key-writer"
	readerKey = "reader-key-reader-key-reader"
)

var errTaken = errors.New("taken")

// things is the service under the chain: what it does is said by each test.
type things struct {
	testpb.UnimplementedThingServiceServer
	create func(context.Context, *testpb.CreateThingRequest) (*testpb.Thing, error)
	watch  func(*testpb.WatchThingsRequest, grpc.ServerStreamingServer[testpb.Thing]) error
	load   func(grpc.ClientStreamingServer[testpb.ImportThingsRequest, testpb.ImportThingsResponse]) error
}

func (s *things) CreateThing(ctx context.Context, in *testpb.CreateThingRequest) (*testpb.Thing, error) {
	return s.create(ctx, in)
}

func (s *things) GetThing(context.Context, *testpb.GetThingRequest) (*testpb.Thing, error) {
	return &testpb.Thing{Id: "1", GivenName: "n"}, nil
}

func (s *things) WatchThings(in *testpb.WatchThingsRequest, out grpc.ServerStreamingServer[testpb.Thing]) error {
	return s.watch(in, out)
}

func (s *things) ImportThings(in grpc.ClientStreamingServer[testpb.ImportThingsRequest, testpb.ImportThingsResponse]) error {
	return s.load(in)
}

func policy() rpc.Policy {
	return rpc.Policy{
		testpb.ThingService_CreateThing_FullMethodName:       {"writer"},
		testpb.ThingService_BatchCreateThings_FullMethodName: {"writer"},
		testpb.ThingService_GetThing_FullMethodName:          {"writer", "reader"},
		testpb.ThingService_ListThings_FullMethodName:        {rpc.AnyRole},
		testpb.ThingService_UpdateThing_FullMethodName:       {"writer"},
		testpb.ThingService_FinishThing_FullMethodName:       {"writer"},
		testpb.ThingService_WatchThings_FullMethodName:       {"reader"},
		testpb.ThingService_ImportThings_FullMethodName:      {"writer"},
	}
}

func table(err error) *status.Status {
	if errors.Is(err, errTaken) {
		return status.New(codes.AlreadyExists, "the name is taken")
	}
	return nil
}

type harness struct {
	testpb.ThingServiceClient
	health healthpb.HealthClient
	chain  *rpc.Chain
	logs   *logs
	reg    *prometheus.Registry
}

// logs is a log that two goroutines may use.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func start(t *testing.T, impl *things, change func(*rpc.Config)) *harness {
	t.Helper()
	keys, err := rpc.ParseStaticKeys("w:writer:"+writerKey+",r:reader:"+readerKey, "writer", "reader")
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{logs: &logs{}, reg: prometheus.NewRegistry()}
	cfg := rpc.Config{
		Logger: slog.New(slog.NewJSONHandler(h.logs, nil)), Metrics: h.reg,
		Authenticator: keys, Policy: policy(), Errors: table,
	}
	if change != nil {
		change(&cfg)
	}
	chain, err := rpc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.chain = chain
	srv := grpc.NewServer(grpc.UnaryInterceptor(chain.Unary), grpc.StreamInterceptor(chain.Stream))
	testpb.RegisterThingServiceServer(srv, impl)
	healthpb.RegisterHealthServer(srv, healthpb.UnimplementedHealthServer{})
	if err := chain.Check(srv.GetServiceInfo()); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, srv)
	h.ThingServiceClient, h.health = testpb.NewThingServiceClient(conn), healthpb.NewHealthClient(conn)
	return h
}

func dial(t *testing.T, srv *grpc.Server) *grpc.ClientConn {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	conn, err := grpc.NewClient("passthrough:///b", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func as(ctx context.Context, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
}

func valid() *testpb.CreateThingRequest {
	return &testpb.CreateThingRequest{Thing: &testpb.Thing{GivenName: "Zoë"}}
}

func echo(_ context.Context, in *testpb.CreateThingRequest) (*testpb.Thing, error) {
	return in.GetThing(), nil
}

func wantCode(t *testing.T, err error, want codes.Code) *status.Status {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Fatalf("got %v, want %v (%v)", got, want, err)
	}
	return status.Convert(err)
}

func TestAuthorization(t *testing.T) {
	called := 0
	h := start(t, &things{
		create: func(_ context.Context, in *testpb.CreateThingRequest) (*testpb.Thing, error) {
			called++
			return in.GetThing(), nil
		},
		watch: func(*testpb.WatchThingsRequest, grpc.ServerStreamingServer[testpb.Thing]) error {
			called++
			return nil
		},
	}, nil)
	create := func(ctx context.Context) error {
		_, err := h.CreateThing(ctx, valid())
		return err
	}
	get := func(ctx context.Context) error {
		_, err := h.GetThing(ctx, &testpb.GetThingRequest{Id: "1"})
		return err
	}
	list := func(ctx context.Context) error { // any role; not implemented
		_, err := h.ListThings(ctx, &testpb.ListThingsRequest{})
		return err
	}
	watch := func(ctx context.Context) error {
		s, err := h.WatchThings(ctx, &testpb.WatchThingsRequest{})
		if err != nil {
			return err
		}
		_, err = s.Recv()
		if err != nil && err.Error() == "EOF" {
			return nil
		}
		return err
	}
	raw := func(values ...string) context.Context {
		ctx := t.Context()
		for _, v := range values {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", v)
		}
		return ctx
	}
	for _, tt := range []struct {
		name string
		ctx  context.Context
		call func(context.Context) error
		want codes.Code
	}{
		{"no key", raw(), create, codes.Unauthenticated},
		{"no key on a stream", raw(), watch, codes.Unauthenticated},
		{"another scheme", raw("Basic " + writerKey), create, codes.Unauthenticated},
		{"an empty key", raw("Bearer "), create, codes.Unauthenticated},
		{"an unknown key", raw("Bearer unknown-key-unknown-key-1"), create, codes.Unauthenticated},
		{"a prefix of a key", raw("Bearer " + writerKey[:24]), create, codes.Unauthenticated},
		{"two keys", raw("Bearer "+writerKey, "Bearer "+writerKey), create, codes.Unauthenticated},
		{"a small role", as(t.Context(), readerKey), create, codes.PermissionDenied},
		{"a small role on a stream", as(t.Context(), writerKey), watch, codes.PermissionDenied},
		{"the role", as(t.Context(), writerKey), create, codes.OK},
		{"the role on a stream", as(t.Context(), readerKey), watch, codes.OK},
		{"either role", as(t.Context(), readerKey), get, codes.OK},
		{"any role", as(t.Context(), readerKey), list, codes.Unimplemented},
		{"scheme in another case", raw("bearer " + writerKey), create, codes.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			called = 0
			wantCode(t, tt.call(tt.ctx), tt.want)
			if refused := tt.want == codes.Unauthenticated || tt.want == codes.PermissionDenied; refused && called > 0 {
				t.Error("the handler ran")
			}
		})
	}
	t.Run("health needs no key", func(t *testing.T) {
		_, err := h.health.Check(t.Context(), &healthpb.HealthCheckRequest{})
		wantCode(t, err, codes.Unimplemented) // the stub's own answer
	})
}

type failingAuth struct{ err error }

func (a failingAuth) Authenticate(context.Context, string) (rpc.Identity, error) {
	return rpc.Identity{}, a.err
}

func TestAuthenticatorThatIsDownRefusesWithoutLettingIn(t *testing.T) {
	h := start(t, &things{create: echo}, func(c *rpc.Config) {
		c.Authenticator = failingAuth{fmt.Errorf("read keys: %w", &net.OpError{Op: "dial", Err: errors.New("connection refused")})}
	})
	_, err := h.CreateThing(as(t.Context(), writerKey), valid())
	if code := status.Code(err); code != codes.Unavailable && code != codes.Internal {
		t.Fatalf("got %v", err)
	}
}

// changingAuth answers as it is told to.
type changingAuth struct{ answer atomic.Pointer[failingAuth] }

func (a *changingAuth) Authenticate(context.Context, string) (rpc.Identity, error) {
	if no := a.answer.Load(); no != nil {
		return rpc.Identity{}, no.err
	}
	return rpc.Identity{Name: "x", Role: "reader"}, nil
}

func TestAnOpenStreamEndsWhenItsKeyIsRevoked(t *testing.T) {
	keys := &changingAuth{}
	h := start(t, &things{watch: func(_ *testpb.WatchThingsRequest, out grpc.ServerStreamingServer[testpb.Thing]) error {
		for {
			select {
			case <-out.Context().Done():
				return nil // as if all were well
			case <-time.After(20 * time.Millisecond):
				if err := out.Send(&testpb.Thing{Id: "1"}); err != nil {
					return fmt.Errorf("send: %w", err)
				}
			}
		}
	}}, func(c *rpc.Config) { c.Authenticator = keys })
	s, err := h.WatchThings(as(t.Context(), readerKey), &testpb.WatchThingsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	receive := func(d time.Duration) (err error) {
		for start := time.Now(); err == nil && time.Since(start) < d; {
			_, err = s.Recv()
		}
		return err
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	keys.answer.Store(&failingAuth{errors.New("the store is down")})
	if err := receive(2500 * time.Millisecond); err != nil {
		t.Errorf("while nobody can tell: %v", err)
	}
	keys.answer.Store(&failingAuth{rpc.ErrUnknownKey})
	wantCode(t, receive(3*time.Second), codes.Unauthenticated)
}

func TestIdentityAndRequestIDReachTheHandler(t *testing.T) {
	var id rpc.Identity
	var request string
	h := start(t, &things{create: func(ctx context.Context, in *testpb.CreateThingRequest) (*testpb.Thing, error) {
		id, _ = rpc.IdentityFrom(ctx)
		request = rpc.RequestID(ctx)
		return in.GetThing(), nil
	}}, nil)
	call := func(ctx context.Context) string {
		var header metadata.MD
		if _, err := h.CreateThing(as(ctx, writerKey), valid(), grpc.Header(&header)); err != nil {
			t.Fatal(err)
		}
		return strings.Join(header.Get(rpc.RequestIDKey), ",")
	}
	if got := call(metadata.AppendToOutgoingContext(t.Context(), rpc.RequestIDKey, "req-1")); got != "req-1" || request != "req-1" {
		t.Errorf("request id: answered %q, handler saw %q", got, request)
	}
	if want := (rpc.Identity{Name: "w", Role: "writer"}); id != want {
		t.Errorf("identity: %+v", id)
	}
	if call(metadata.AppendToOutgoingContext(t.Context(), rpc.RequestIDKey, "a b=\"forged\"")); len(request) != 16 {
		t.Errorf("a hostile request id was kept: %q", request)
	}
	var trailer metadata.MD
	if _, err := h.CreateThing(t.Context(), valid(), grpc.Trailer(&trailer)); err == nil || len(trailer.Get(rpc.RequestIDKey)) != 1 {
		t.Errorf("a failed call names no request: %v", trailer)
	}
	if _, ok := rpc.IdentityFrom(t.Context()); ok {
		t.Error("an identity outside of a call")
	}
}

func TestCheck(t *testing.T) {
	check := func(p rpc.Policy, services ...string) error {
		chain, err := rpc.New(rpc.Config{Authenticator: rpc.StaticKeys{}, Policy: p})
		if err != nil {
			t.Fatal(err)
		}
		srv := grpc.NewServer()
		testpb.RegisterThingServiceServer(srv, &things{})
		info := srv.GetServiceInfo()
		for _, s := range services {
			info[s] = grpc.ServiceInfo{Methods: []grpc.MethodInfo{{Name: "M"}}}
		}
		return chain.Check(info)
	}
	if err := check(policy(), "grpc.health.v1.Health"); err != nil {
		t.Errorf("complete policy: %v", err)
	}
	p := policy()
	delete(p, testpb.ThingService_WatchThings_FullMethodName)
	if err := check(p); err == nil || !strings.Contains(err.Error(), testpb.ThingService_WatchThings_FullMethodName) {
		t.Errorf("a method without a role: %v", err)
	}
	p = policy()
	p["/a.B/C"] = rpc.Roles{"writer"}
	if err := check(p); err == nil || !strings.Contains(err.Error(), "/a.B/C") {
		t.Errorf("a role without a method: %v", err)
	}
	if err := check(policy(), "other.Service"); err == nil {
		t.Error("an unmapped service passed")
	}
	if _, err := rpc.New(rpc.Config{}); err == nil {
		t.Error("a chain without an authenticator")
	}
}

func TestNothingIsServedBeforeCheck(t *testing.T) {
	chain, err := rpc.New(rpc.Config{Authenticator: rpc.StaticKey(rpc.Identity{Role: "writer"}, writerKey), Policy: policy()})
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.UnaryInterceptor(chain.Unary), grpc.StreamInterceptor(chain.Stream))
	testpb.RegisterThingServiceServer(srv, &things{create: echo})
	client := testpb.NewThingServiceClient(dial(t, srv))
	_, err = client.CreateThing(as(t.Context(), writerKey), valid())
	wantCode(t, err, codes.Unavailable)
	s, err := client.WatchThings(as(t.Context(), writerKey), &testpb.WatchThingsRequest{})
	if err == nil {
		_, err = s.Recv()
	}
	wantCode(t, err, codes.Unavailable)
}

func TestValidation(t *testing.T) {
	h := start(t, &things{create: echo}, nil)
	_, err := h.CreateThing(as(t.Context(), writerKey), &testpb.CreateThingRequest{
		Thing:     &testpb.Thing{GivenName: strings.Repeat("é", 101), Status: 99, Parts: []*testpb.Thing{{GivenName: "ok"}, {}}},
		RequestId: strings.Repeat("x", 129),
	})
	st := wantCode(t, err, codes.InvalidArgument)
	var fields []string
	for _, d := range st.Details() {
		for _, v := range d.(*errdetails.BadRequest).GetFieldViolations() {
			fields = append(fields, v.GetField())
			if v.GetDescription() == "" {
				t.Errorf("no reason for %s", v.GetField())
			}
		}
	}
	want := []string{"thing.given_name", "thing.status", "thing.parts[1].given_name", "request_id"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
	_, err = h.CreateThing(as(t.Context(), writerKey), &testpb.CreateThingRequest{})
	wantCode(t, err, codes.InvalidArgument)
	_, err = h.CreateThing(as(t.Context(), readerKey), &testpb.CreateThingRequest{})
	wantCode(t, err, codes.PermissionDenied) // who may not call learns nothing of the rules
}

func TestNULIsRefusedInEveryString(t *testing.T) {
	h := start(t, &things{create: echo}, nil)
	extra := func(v any) *structpb.Struct {
		s, err := structpb.NewStruct(map[string]any{"a": "b", "c": v})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const nul = "a\x00b"
	for _, tt := range []struct {
		name  string
		in    *testpb.CreateThingRequest
		field string
	}{
		{"a string", &testpb.CreateThingRequest{Thing: &testpb.Thing{GivenName: "n"}, RequestId: nul}, "request_id"},
		{"one alone", &testpb.CreateThingRequest{Thing: &testpb.Thing{GivenName: "\x00"}}, "thing.given_name"},
		{"in a list", &testpb.CreateThingRequest{Thing: &testpb.Thing{GivenName: "n", Parts: []*testpb.Thing{{GivenName: "n"}, {GivenName: nul}}}}, "thing.parts[1].given_name"},
		{"a key of a map", &testpb.CreateThingRequest{Thing: &testpb.Thing{GivenName: "n", Labels: map[string]string{nul: "v"}}}, "thing.labels"},
		{"a value of a map", &testpb.CreateThingRequest{Thing: &testpb.Thing{GivenName: "n", Labels: map[string]string{"a": "b", "k": nul}}}, "thing.labels"},
		{"only in a Struct", &testpb.CreateThingRequest{Thing: &testpb.Thing{GivenName: "\u2400\t", Labels: map[string]string{"a": "b"}, Extra: extra(nul)}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := h.CreateThing(as(t.Context(), writerKey), tt.in)
			if tt.field == "" {
				wantCode(t, err, codes.OK)
				return
			}
			st := wantCode(t, err, codes.InvalidArgument)
			if bad := st.Details()[0].(*errdetails.BadRequest).GetFieldViolations(); len(bad) != 1 || bad[0].GetField() != tt.field {
				t.Errorf("%v", bad)
			}
		})
	}
	// A request without any rule, and one of many in a list of strings.
	_, err := h.FinishThing(as(t.Context(), writerKey), &testpb.FinishThingRequest{Id: "i", Reason: nul})
	wantCode(t, err, codes.InvalidArgument)
	_, err = h.ListThings(as(t.Context(), writerKey), &testpb.ListThingsRequest{Tags: []string{"a", nul}})
	if st := wantCode(t, err, codes.InvalidArgument); !strings.HasPrefix(st.Message(), "tags[1]: ") {
		t.Errorf("%v", err)
	}
}

func TestStreamMessagesAreValidated(t *testing.T) {
	received := 0
	h := start(t, &things{load: func(in grpc.ClientStreamingServer[testpb.ImportThingsRequest, testpb.ImportThingsResponse]) error {
		for {
			if _, err := in.Recv(); err != nil {
				return fmt.Errorf("receive: %w", err)
			}
			received++
		}
	}}, nil)
	s, err := h.ImportThings(as(t.Context(), writerKey))
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Send(&testpb.ImportThingsRequest{Thing: &testpb.Thing{GivenName: "a"}})
	_ = s.Send(&testpb.ImportThingsRequest{Thing: &testpb.Thing{}})
	_, err = s.CloseAndRecv()
	wantCode(t, err, codes.InvalidArgument)
	if received != 1 {
		t.Errorf("the handler received %d messages", received)
	}
}

func TestPanicBecomesInternal(t *testing.T) {
	h := start(t, &things{
		create: func(context.Context, *testpb.CreateThingRequest) (*testpb.Thing, error) { panic("secret-1") },
		watch: func(*testpb.WatchThingsRequest, grpc.ServerStreamingServer[testpb.Thing]) error {
			panic("secret-2")
		},
	}, nil)
	_, err := h.CreateThing(as(t.Context(), writerKey), valid())
	if st := wantCode(t, err, codes.Internal); strings.Contains(st.Message(), "secret") {
		t.Error("the panic is told")
	}
	s, err := h.WatchThings(as(t.Context(), readerKey), &testpb.WatchThingsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Recv()
	wantCode(t, err, codes.Internal)
	if n := strings.Count(h.logs.String(), "handler panicked"); n != 2 {
		t.Errorf("%d log lines", n)
	}
	if got := counter(t, h.reg, "rpc_server_panics_total"); got != 2 {
		t.Errorf("counted %v panics", got)
	}
	if _, err := h.GetThing(as(t.Context(), readerKey), &testpb.GetThingRequest{Id: "1"}); err != nil {
		t.Errorf("after the panics: %v", err)
	}
}

func TestDeadlineCap(t *testing.T) {
	var left time.Duration
	var has bool
	h := start(t, &things{
		create: func(ctx context.Context, in *testpb.CreateThingRequest) (*testpb.Thing, error) {
			var d time.Time
			d, has = ctx.Deadline()
			left = time.Until(d)
			return in.GetThing(), nil
		},
		watch: func(_ *testpb.WatchThingsRequest, s grpc.ServerStreamingServer[testpb.Thing]) error {
			_, has = s.Context().Deadline()
			return nil
		},
	}, nil)
	call := func(ctx context.Context) {
		if _, err := h.CreateThing(as(ctx, writerKey), valid()); err != nil {
			t.Fatal(err)
		}
	}
	if call(t.Context()); !has || left > rpc.DefaultMaxDuration || left < rpc.DefaultMaxDuration-5*time.Second {
		t.Errorf("without one: %v", left)
	}
	long, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if call(long); left > rpc.DefaultMaxDuration {
		t.Errorf("with a long one: %v", left)
	}
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if call(short); left > 2*time.Second {
		t.Errorf("with a short one: %v", left)
	}
	s, err := h.WatchThings(as(t.Context(), readerKey), &testpb.WatchThingsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _ = s.Recv(); has {
		t.Error("a stream has a deadline")
	}
}

func TestUnaryCallEndsAtTheCap(t *testing.T) {
	h := start(t, &things{create: func(ctx context.Context, _ *testpb.CreateThingRequest) (*testpb.Thing, error) {
		<-ctx.Done()
		return nil, errors.New("driver: canceling statement due to user request")
	}}, func(c *rpc.Config) { c.MaxDuration = 20 * time.Millisecond })
	_, err := h.CreateThing(as(t.Context(), writerKey), valid())
	wantCode(t, err, codes.DeadlineExceeded)
}

func counter(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return 0
}

func TestMetricsHaveBoundedLabels(t *testing.T) {
	h := start(t, &things{create: echo}, nil)
	_, _ = h.CreateThing(as(t.Context(), writerKey), valid())
	_, _ = h.CreateThing(t.Context(), valid())
	name := testpb.ThingService_CreateThing_FullMethodName
	incoming := func(key string) context.Context {
		return metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+key))
	}
	wantCode(t, h.chain.Admit(incoming(writerKey), name), codes.OK) // not counted: its call will be
	wantCode(t, h.chain.Admit(incoming(readerKey), name), codes.PermissionDenied)
	families, err := h.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetHistogram() == nil {
				continue
			}
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if n := m.GetHistogram().GetSampleCount(); n > 0 {
				got[strings.Join(labels, " ")] = n
			}
		}
	}
	if diff := cmp.Diff(map[string]uint64{"OK " + name: 1, "Unauthenticated " + name: 1, "PermissionDenied " + name: 1}, got); diff != "" {
		t.Error(diff)
	}
}
