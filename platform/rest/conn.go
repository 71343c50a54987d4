package rest

import (
	"context"
	"fmt"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"hirewire.dev/platform/serve"
)

// conn is a grpc.ClientConnInterface to services in this process. Unary calls run on the caller's goroutine, so whoever
// waits for the HTTP request waits for the handler; streams go through inprocgrpc.
type conn struct {
	unary   grpc.UnaryServerInterceptor
	methods map[string]handler
	streams *inprocgrpc.Channel
}

type handler struct {
	impl any
	desc *grpc.MethodDesc
}

func (c *conn) register(desc *grpc.ServiceDesc, impl any) {
	c.streams.RegisterService(desc, impl)
	for i := range desc.Methods {
		m := &desc.Methods[i]
		c.methods["/"+desc.ServiceName+"/"+m.MethodName] = handler{impl, m}
	}
}

// Invoke implements grpc.ClientConnInterface.
func (c *conn) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	h, ok := c.methods[method]
	if !ok {
		return status.Errorf(codes.Unimplemented, "unknown method %s", method)
	}
	in, ok := args.(proto.Message)
	if !ok {
		return status.Error(codes.Internal, "the request is not a message")
	}
	ex, fromHTTP := ctx.Value(exchangeKey{}).(*exchange)
	if fromHTTP {
		if err := ex.admit(in); err != nil {
			return err
		}
	}
	ctx, cancel := serverContext(ctx, ex)
	defer cancel()
	ctx = grpc.NewContextWithServerTransportStream(ctx, transport(method))
	// The caller made the request for this call alone, so the handler may have it as it is.
	out, err := h.desc.Handler(h.impl, ctx, func(dst any) error { return move(dst, in) }, c.unary)
	if err != nil {
		return err
	}
	return move(reply, out)
}

// NewStream implements grpc.ClientConnInterface.
func (c *conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if ex, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		if ex.err != nil {
			return nil, ex.err
		}
		ex.called = true
		ex.stream()
	}
	return c.streams.NewStream(ctx, desc, method, opts...)
}

// move gives dst the content of src, which is not used afterwards.
func move(dst, src any) error {
	to, ok := dst.(proto.Message)
	from, ok2 := src.(proto.Message)
	if !ok || !ok2 {
		return status.Error(codes.Internal, fmt.Sprintf("cannot move %T into %T", src, dst))
	}
	proto.Merge(to, from)
	return nil
}

// serverContext is the context that a gRPC server would have made: the caller's cancellation and deadline without its
// values, the metadata as incoming, and the peer.
func serverContext(ctx context.Context, ex *exchange) (context.Context, context.CancelFunc) {
	md, _ := metadata.FromOutgoingContext(ctx)
	p := inProcess
	if ex != nil && ex.remote != "" {
		p = &peer.Peer{Addr: address(ex.remote)}
	}
	server, cancel := context.WithCancel(valueless{ctx})
	return peer.NewContext(metadata.NewIncomingContext(server, md), p), cancel
}

var inProcess = &peer.Peer{Addr: address("in-process")}

// transport takes headers and trailers and drops them: over HTTP, the gateway says what there is to say.
type transport string

func (t transport) Method() string             { return string(t) }
func (transport) SetHeader(metadata.MD) error  { return nil }
func (transport) SendHeader(metadata.MD) error { return nil }
func (transport) SetTrailer(metadata.MD) error { return nil }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// valueless hides the values of a client's context from the server's side.
type valueless struct{ context.Context } //nolint:containedctx // It is a context.

func (valueless) Value(any) any { return nil }

// AfterFunc spares the context that is derived from this one a goroutine.
func (v valueless) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(v.Context, f) }

// endingStream is a stream whose context ends with the server.
type endingStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // grpc.ServerStream hands its context over by a method.
}

func (s *endingStream) Context() context.Context { return s.ctx }

// tracked makes the HTTP request wait for the handlers of its streams.
func tracked(next grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		if client := inprocgrpc.ClientContext(ss.Context()); client != nil {
			if ex, ok := client.Value(exchangeKey{}).(*exchange); ok {
				defer ex.running.Done()
			}
			if info.IsServerStream {
				stopping, cancel := serve.UntilStop(client)
				defer cancel()
				ctx, end := context.WithCancelCause(ss.Context())
				defer end(nil)
				defer context.AfterFunc(stopping, func() { end(context.Cause(stopping)) })()
				ss = &endingStream{ss, ctx}
			}
		}
		return next(srv, ss, info, h)
	}
}
