package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// DefaultMaxDuration is the longest a unary call may take when Config names nothing else.
const DefaultMaxDuration = 10 * time.Second

// Config is what a Chain is made of.
type Config struct {
	// Logger receives one line for each panic and for each error that the caller is not told about. nil: slog.Default().
	Logger *slog.Logger
	// Metrics registers the chain's collectors. nil: no metrics.
	Metrics prometheus.Registerer
	// Tracer makes a span for each call, continuing the caller's traceparent. nil: none.
	Tracer trace.Tracer
	// Authenticator turns a bearer key into an identity. Required.
	Authenticator Authenticator
	// Policy names the roles that may call each method. What it does not name is not served. Required.
	Policy Policy
	// Errors is the service's table from its domain's errors to statuses; nil for an error that it does not know.
	// It may be called with wrapped errors and must not return text from unknown errors.
	Errors func(error) *status.Status
	// MaxDuration caps the deadline of unary calls, also of those that came without one. Streams are exempt.
	// 0: DefaultMaxDuration.
	MaxDuration time.Duration
}

// Chain intercepts calls. Make one for each service process with New; Unary and Stream are the interceptors.
type Chain struct {
	log         *slog.Logger
	metrics     *metrics
	tracer      trace.Tracer
	auth        Authenticator
	policy      Policy
	errors      func(error) *status.Status
	maxDuration time.Duration
	table       atomic.Pointer[table] // nil until Check
}

// table is what Check found out; it is never changed once published.
type table struct {
	methods   map[string]*method
	validator validator
}

// method is what the chain knows of one registered method.
type method struct {
	name     string // full method
	allowed  Roles
	observer *observers
}

// New makes a chain that refuses all calls until Check.
func New(cfg Config) (*Chain, error) {
	if cfg.Authenticator == nil {
		return nil, errors.New("rpc: no authenticator")
	}
	c := &Chain{
		log:         cfg.Logger,
		tracer:      cfg.Tracer,
		auth:        cfg.Authenticator,
		policy:      cfg.Policy,
		errors:      cfg.Errors,
		maxDuration: cfg.MaxDuration,
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	if c.maxDuration <= 0 {
		c.maxDuration = DefaultMaxDuration
	}
	var err error
	if c.metrics, err = newMetrics(cfg.Metrics); err != nil {
		return nil, fmt.Errorf("register rpc metrics: %w", err)
	}
	return c, nil
}

// Check opens the chain for the registered services: services is grpc.Server.GetServiceInfo, or the union of several. It fails when a method has no
// entry in the policy, when the policy names a method that is not registered, or when the validation rules of a request
// message do not compile. Call it once, after registering and before serving.
func (c *Chain) Check(services map[string]grpc.ServiceInfo) error {
	methods := make(map[string]*method)
	var problems []error
	var served []string
	for service, info := range services {
		for _, m := range info.Methods {
			full := "/" + service + "/" + m.Name
			switch {
			case isHealth(full):
				continue
			case isReflection(full):
				methods[full] = &method{name: full, allowed: Roles{AnyRole}, observer: c.metrics.method(full)}
				continue
			}
			allowed, ok := c.policy[full]
			if !ok {
				problems = append(problems, fmt.Errorf("no role may call %s: the policy does not name it", full))
				continue
			}
			methods[full] = &method{name: full, allowed: allowed, observer: c.metrics.method(full)}
		}
		if !isHealth("/"+service+"/") && !isReflection("/"+service+"/") {
			served = append(served, service)
		}
	}
	for full := range c.policy {
		if methods[full] == nil {
			problems = append(problems, fmt.Errorf("the policy names %s, which is not served", full))
		}
	}
	v, err := newValidator(served)
	if err != nil {
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("check rpc methods: %w", err)
	}
	c.table.Store(&table{methods: methods, validator: v})
	return nil
}

func isHealth(full string) bool { return strings.HasPrefix(full, "/grpc.health.v1.Health/") }

func isReflection(full string) bool { return strings.HasPrefix(full, "/grpc.reflection.v1") }

// Unary is the grpc.UnaryServerInterceptor.
func (c *Chain) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	cl := newCall(ctx, info.FullMethod)
	defer func() {
		if r := recover(); r != nil {
			resp, err = nil, c.recovered(ctx, cl, r)
		}
		cl.answer(ctx, err)
		c.finish(cl, err)
	}()
	if isHealth(info.FullMethod) {
		return handler(ctx, req)
	}
	t := c.table.Load()
	if t == nil {
		return nil, errStarting
	}
	ctx = c.start(context.WithValue(ctx, callKey{}, cl), cl)
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > c.maxDuration {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.maxDuration)
		defer cancel()
	}
	if err := c.authorize(ctx, t, cl); err != nil {
		return nil, err
	}
	if err := t.validator.validate(req); err != nil {
		return nil, c.toStatus(ctx, cl, err)
	}
	resp, err = handler(ctx, req)
	if err != nil {
		return nil, c.toStatus(ctx, cl, err)
	}
	return resp, nil
}

// Stream is the grpc.StreamServerInterceptor. Each received message is validated; there is no deadline, but the stream ends
// with UNAUTHENTICATED soon after its key is revoked.
func (c *Chain) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx := ss.Context()
	cl := newCall(ctx, info.FullMethod)
	defer func() {
		if r := recover(); r != nil {
			err = c.recovered(ctx, cl, r)
		}
		if err != nil {
			ss.SetTrailer(cl.header())
		}
		c.finish(cl, err)
	}()
	if isHealth(info.FullMethod) {
		return handler(srv, ss)
	}
	t := c.table.Load()
	if t == nil {
		return errStarting
	}
	ctx = c.start(context.WithValue(ctx, callKey{}, cl), cl)
	if err := c.authorize(ctx, t, cl); err != nil {
		return err
	}
	if info.IsServerStream {
		// Sent at once, so that a watcher knows that its stream is open before anything happens on it.
		if err := ss.SendHeader(cl.header()); err != nil {
			return err
		}
	}
	ctx, revoke := context.WithCancelCause(ctx)
	watched := c.watch(ctx, cl, revoke)
	defer watched.Wait()
	defer revoke(nil)
	s := &stream{ServerStream: ss, ctx: ctx, validator: t.validator}
	err = handler(srv, s)
	switch {
	case context.Cause(ctx) == errBadKey: //nolint:errorlint // itself, as watch has put it there
		return errBadKey
	case err == nil:
		return nil
	case s.broken != nil && errors.Is(err, s.broken):
		return c.toStatus(ctx, cl, s.broken) // as it was, whatever the handler wrapped around it
	default:
		return c.toStatus(ctx, cl, err)
	}
}

var errStarting = status.Error(codes.Unavailable, "starting")

// stream carries the chain's context and validates what arrives.
type stream struct {
	grpc.ServerStream
	ctx       context.Context //nolint:containedctx // grpc.ServerStream hands its context over by a method.
	validator validator
	broken    error // why no more is received
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) SendMsg(m any) error {
	if context.Cause(s.ctx) == errBadKey { //nolint:errorlint // as above
		return errBadKey
	}
	return s.ServerStream.SendMsg(m)
}

func (s *stream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if context.Cause(s.ctx) == errBadKey { //nolint:errorlint // as above
		err = errBadKey
	}
	if err == nil {
		err = s.validator.validate(m)
	}
	if err != nil && err != io.EOF { //nolint:errorlint // io.EOF is returned bare, and is no fault.
		s.broken = err
	}
	return err
}
