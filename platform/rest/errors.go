package rest

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// httpError is a status whose HTTP code does not follow from its gRPC code.
type httpError struct {
	http int
	st   *status.Status
}

func (e *httpError) Error() string              { return e.st.Message() }
func (e *httpError) GRPCStatus() *status.Status { return e.st }

var (
	errTooLarge = &httpError{http.StatusRequestEntityTooLarge, status.New(codes.ResourceExhausted, "the body is too large")}
	errType     = &httpError{http.StatusUnsupportedMediaType, status.New(codes.InvalidArgument, "the content type must be application/json")}
	errCoding   = &httpError{http.StatusUnsupportedMediaType, status.New(codes.InvalidArgument, "the body must not be encoded")}
)

var errNoCertificate = status.Error(codes.PermissionDenied, "a client certificate is needed that may call this service: over HTTPS, as over gRPC")

// httpStatus is the HTTP status of a gRPC code.
func httpStatus(code codes.Code) int {
	switch code {
	case codes.FailedPrecondition:
		return http.StatusPreconditionFailed
	case codes.Unimplemented:
		return http.StatusNotFound
	default:
		return runtime.HTTPStatusFromCode(code)
	}
}

// writeError answers with a google.rpc.Status. What was found wrong with the request itself comes before what grpc-gateway
// makes of it.
func (g *Gateway) writeError(ctx context.Context, _ *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	if ex, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
		switch {
		case ex.err != nil:
			err = ex.err
		case ex.binding != nil && !ex.called:
			err = ex.binding.misfit(ex.body)
		}
	}
	code := 0
	if own, ok := errors.AsType[*httpError](err); ok {
		code = own.http
	} else if routed, ok := errors.AsType[*runtime.HTTPStatusError](err); ok {
		code = routed.HTTPStatus
		err = status.Error(codes.InvalidArgument, "malformed path")
	}
	st := status.Convert(err)
	if code == 0 {
		code = httpStatus(st.Code())
	}
	header := w.Header()
	header.Del("Trailer")
	header.Del("Transfer-Encoding")
	header.Set("Content-Type", "application/json")
	switch code {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		header.Set("Retry-After", retryAfter(st))
	}
	body, merr := m.Marshal(st.Proto())
	if merr != nil {
		g.log.ErrorContext(ctx, "encode an error", "error", merr)
		code, body = http.StatusInternalServerError, []byte(`{"code":13,"message":"internal error","details":[]}`)
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body) //nolint:gosec // JSON, escaped for HTML too, and said to be JSON.
}

// retryAfter is the server's wish in whole seconds, at least one.
func retryAfter(st *status.Status) string {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return strconv.Itoa(max(1, int(math.Ceil(info.GetRetryDelay().AsDuration().Seconds()))))
		}
	}
	return "1"
}

func (g *Gateway) writeRoutingError(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	st := status.New(codes.Unimplemented, "no such path")
	switch code {
	case http.StatusMethodNotAllowed:
		st = status.New(codes.Unimplemented, "method not allowed")
		if w.Header().Get("Allow") == "" {
			w.Header().Set("Allow", g.allowed(r.URL.Path))
		}
	case http.StatusBadRequest:
		st = status.New(codes.InvalidArgument, "malformed path")
	}
	g.writeError(ctx, mux, m, w, r, &httpError{code, st})
}

// streamError is the last line of a stream that ends with an error.
func streamError(_ context.Context, err error) *status.Status { return status.Convert(err) }
