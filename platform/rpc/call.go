package rpc

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// RequestIDKey is the metadata key, and the HTTP header, of the request id.
const RequestIDKey = "x-request-id"

// call is what the chain remembers of one call; a handler reaches it through its context.
type call struct {
	name          string // full method
	started       time.Time
	requestID     string
	given         bool    // the id is the caller's own
	method        *method // nil until authorised
	identity      Identity
	authenticated bool
	span          trace.Span // nil without a tracer
}

type callKey struct{}

func newCall(ctx context.Context, name string) *call {
	cl := &call{name: name, started: time.Now()}
	if ids := metadata.ValueFromIncomingContext(ctx, RequestIDKey); len(ids) == 1 && ValidRequestID(ids[0]) {
		cl.requestID, cl.given = ids[0], true
	} else {
		cl.requestID = NewRequestID()
	}
	return cl
}

func (cl *call) header() metadata.MD { return metadata.MD{RequestIDKey: {cl.requestID}} }

// answer sends the request id back: in the header when the caller gave it, else in the trailer of a call that failed. A
// caller that knows no id has no use for one of a call that went well.
func (cl *call) answer(ctx context.Context, err error) {
	switch {
	case cl.given: // fails only where there is no transport, which then needs no header
		_ = grpc.SetHeader(ctx, cl.header())
	case err != nil:
		_ = grpc.SetTrailer(ctx, cl.header())
	}
}

// RequestID is the id of the current call: the caller's x-request-id, or one made for it. Empty outside the chain.
func RequestID(ctx context.Context) string {
	if cl, ok := ctx.Value(callKey{}).(*call); ok {
		return cl.requestID
	}
	return ""
}

// NewRequestID makes an id of 16 hexadecimal digits. It is a name, not a secret.
func NewRequestID() string {
	var raw [8]byte
	var text [16]byte
	n := rand.Uint64() //nolint:gosec // Names a request in logs; nothing depends on its being unguessable.
	for i := range raw {
		raw[i] = byte(n >> (8 * i))
	}
	hex.Encode(text[:], raw[:])
	return string(text[:])
}

// ValidRequestID reports whether a caller's id is taken over: 1 to 64 of A–Z a–z 0–9 _ - . and nothing that could forge a
// line in a log.
func ValidRequestID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}
