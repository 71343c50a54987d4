package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"hirewire.dev/platform/sqldb"
)

// maxViolations bounds an answer that lists what is wrong with a request.
const maxViolations = 100

// Violation is one field that is not as it must be.
type Violation struct {
	Field  string // path by proto names: "employee.email", "requests[2].employee.hire_date"
	Reason string // for the caller; never the value
}

// Invalid is INVALID_ARGUMENT with google.rpc.BadRequest.
func Invalid(violations ...Violation) *status.Status {
	bad := &errdetails.BadRequest{}
	message := "invalid request"
	for i, v := range violations {
		if i == 0 {
			message = v.Reason
			if v.Field != "" {
				message = v.Field + ": " + v.Reason
			}
		}
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Reason})
	}
	if n := len(violations); n > 1 {
		message = fmt.Sprintf("%s (and %d more)", message, n-1)
	}
	return withDetail(status.New(codes.InvalidArgument, message), bad)
}

// Unavailable is UNAVAILABLE with google.rpc.RetryInfo; over HTTP it is 503 with Retry-After.
func Unavailable(message string, retry time.Duration) *status.Status {
	return withDetail(status.New(codes.Unavailable, message), &errdetails.RetryInfo{RetryDelay: durationpb.New(retry)})
}

// toStatus is the error that leaves the process. What is not known becomes INTERNAL, logged here and nowhere else.
func (c *Chain) toStatus(ctx context.Context, cl *call, err error) error {
	st := c.classify(ctx, err)
	switch st.Code() {
	case codes.Internal, codes.Unknown, codes.DataLoss:
		c.log.LogAttrs(ctx, slog.LevelError, "call ended with an internal error", cl.attrs(slog.Any("error", err))...)
		return errInternal
	case codes.Unavailable, codes.ResourceExhausted:
		c.log.LogAttrs(ctx, slog.LevelWarn, "call refused", cl.attrs(slog.Any("error", err))...)
	default: // the caller is told, which is enough
	}
	return st.Err()
}

func (c *Chain) classify(ctx context.Context, err error) *status.Status {
	if c.errors != nil {
		if st := c.errors(err); st != nil && st.Code() != codes.OK {
			return st
		}
	}
	// A status that the handler made itself; one that is wrapped came from another service and is not ours to repeat.
	if isStatus(err) {
		return status.Convert(err)
	}
	// After the deadline a driver's error says anything; the context says what happened.
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	switch {
	case isStatus(err): // the server is stopping, and says so
		return status.Convert(err)
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, "the call took too long")
	case errors.Is(err, context.Canceled):
		return status.New(codes.Canceled, "the caller went away")
	case sqldb.IsFull(err):
		return status.New(codes.ResourceExhausted, "the storage is full")
	case sqldb.IsRetryable(err):
		return status.New(codes.Aborted, "the call met another one on the same data: repeat it")
	case sqldb.IsUnavailable(err), errors.Is(err, sqldb.ErrAmbiguous):
		return Unavailable("the storage is not available: repeat the call", retryDelay)
	}
	return status.New(codes.Internal, "internal error")
}

// retryDelay is what a caller is told to wait while the storage is away.
const retryDelay = time.Second

func isStatus(err error) bool {
	_, ok := err.(interface{ GRPCStatus() *status.Status })
	return ok
}

var errInternal = status.Error(codes.Internal, "internal error")

// recovered turns a handler's panic into INTERNAL.
func (c *Chain) recovered(ctx context.Context, cl *call, r any) error {
	c.metrics.panics.Inc()
	c.log.LogAttrs(ctx, slog.LevelError, "handler panicked", cl.attrs(slog.Any("panic", r), slog.String("stack", string(debug.Stack())))...)
	return errInternal
}

func (cl *call) attrs(more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{slog.String("method", cl.name), slog.String("request_id", cl.requestID), slog.String("caller", cl.identity.Name)}, more...)
}
