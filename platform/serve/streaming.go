package serve

import (
	"context"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errStopping is the cause of the end of what would otherwise outlast the server.
var errStopping = status.Error(codes.Unavailable, "the server is stopping: connect again")

type stoppingKey struct{}

// UntilStop returns a context that also ends when the HTTP server of the request that ctx belongs to begins to stop, with
// a cause that says so as UNAVAILABLE: for answers that have no end of their own.
func UntilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	stopping, ok := ctx.Value(stoppingKey{}).(context.Context)
	if !ok {
		return context.WithCancel(ctx)
	}
	return until(ctx, stopping)
}

func until(ctx, stopping context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	release := context.AfterFunc(stopping, func() { cancel(errStopping) })
	return ctx, func() {
		release()
		cancel(context.Canceled)
	}
}

// Streaming makes a response that may last: the read deadline goes, and the write deadline moves with each write. See
// UntilStop for the other half.
func Streaming(w http.ResponseWriter) http.ResponseWriter {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // not a network connection, as in tests: then there are no deadlines either
	return &streaming{w, control}
}

type streaming struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Unwrap lets http.ResponseController reach the connection.
func (s *streaming) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *streaming) Write(p []byte) (int, error) {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // as above
	return s.ResponseWriter.Write(p)
}

// endStreams is the outermost stream interceptor: a stream of answers ends when the server begins to stop, because its
// client can open it again elsewhere. A stream of requests has the time that calls in flight have.
func (g *GRPC) endStreams(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !info.IsServerStream {
		return handler(srv, ss)
	}
	ctx, cancel := until(ss.Context(), g.stopping)
	defer cancel()
	return handler(srv, &endingStream{ss, ctx})
}

type endingStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // grpc.ServerStream hands its context over by a method.
}

func (s *endingStream) Context() context.Context { return s.ctx }
