package rest

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"hirewire.dev/platform/rpc"
	"hirewire.dev/platform/serve"
)

type exchangeKey struct{}

// exchange is one HTTP request on its way through grpc-gateway, which knows the parts at different times: the route when
// it annotates the context, the request message when it calls.
type exchange struct {
	writer    http.ResponseWriter
	requestID string
	remote    string
	binding   *binding
	key       string // Idempotency-Key
	body      []byte // as far as it is one JSON object
	called    bool   // the message was made
	err       error  // what is wrong with the request; told instead of calling
	running   sync.WaitGroup
}

var _ http.ResponseWriter = (*exchange)(nil)

// Header implements http.ResponseWriter.
func (ex *exchange) Header() http.Header { return ex.writer.Header() }

// Write implements http.ResponseWriter.
func (ex *exchange) Write(p []byte) (int, error) { return ex.writer.Write(p) }

// WriteHeader implements http.ResponseWriter.
func (ex *exchange) WriteHeader(code int) { ex.writer.WriteHeader(code) }

// Unwrap lets http.ResponseController reach the connection.
func (ex *exchange) Unwrap() http.ResponseWriter { return ex.writer }

// stream prepares for an answer that lasts.
func (ex *exchange) stream() {
	ex.writer = serve.Streaming(ex.writer)
	ex.running.Add(1)
}

// firstRead bounds what is allocated on the word of a Content-Length alone, in bytes.
const firstRead = 8 << 10

// prepare checks what can be checked before the message is made, and gives the request the checked bytes of the body.
func (ex *exchange) prepare(b *binding, r *http.Request, body io.ReadCloser, limit int64) error {
	ex.binding, ex.remote = b, r.RemoteAddr
	if err := ex.idempotencyKey(r.Header); err != nil {
		return err
	}
	if !utf8.ValidString(r.URL.Path) {
		return rpc.Invalid(rpc.Violation{Field: strings.Join(b.taken, ","), Reason: notUTF8}).Err()
	}
	if err := b.checkQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if b.clientStream {
		if err := checkType(r.Header); err != nil {
			return err
		}
		r.Body = &lines{newLineReader(http.MaxBytesReader(nil, body, limit))}
		return nil
	}
	if r.ContentLength > limit {
		return errTooLarge
	}
	var read bytes.Buffer
	read.Grow(int(min(max(r.ContentLength, 0), firstRead)) + bytes.MinRead)
	_, err := read.ReadFrom(http.MaxBytesReader(nil, body, limit))
	// From here on it is the call that has a deadline. The read deadline would end its context first.
	_ = http.NewResponseController(ex.writer).SetReadDeadline(time.Time{}) // not a network connection, as in tests: there is none
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return errTooLarge
		}
		return status.Error(codes.InvalidArgument, "the body could not be read")
	}
	if err := b.checkBody(r.Header, read.Bytes()); err != nil {
		return err
	}
	ex.body = read.Bytes()
	r.Body = checked{bytes.NewReader(ex.body)}
	return nil
}

// maxKey is the longest Idempotency-Key, in bytes.
const maxKey = 255

func (ex *exchange) idempotencyKey(header http.Header) error {
	values, ok := header["Idempotency-Key"]
	if !ok {
		return nil
	}
	const field = "request_id"
	switch {
	case len(values) != 1:
		return rpc.Invalid(rpc.Violation{Field: field, Reason: "more than one Idempotency-Key header"}).Err()
	case values[0] == "" || len(values[0]) > maxKey:
		return rpc.Invalid(rpc.Violation{Field: field, Reason: "an Idempotency-Key has 1 to 255 characters"}).Err()
	case strings.ContainsFunc(values[0], func(c rune) bool { return c < 0x21 || c > 0x7e }):
		return rpc.Invalid(rpc.Violation{Field: field, Reason: "an Idempotency-Key is of visible ASCII characters"}).Err()
	}
	ex.key = values[0]
	return nil
}

// admit is the last check before the call: an earlier finding, and the Idempotency-Key against request_id.
func (ex *exchange) admit(in proto.Message) error {
	if ex.err != nil {
		return ex.err
	}
	ex.called = true
	if ex.binding == nil {
		return nil
	}
	m, field := in.ProtoReflect(), ex.binding.requestID
	ex.binding.unmask(m)
	if err := ex.binding.checkTaken(ex.body, m); err != nil {
		return err
	}
	if ex.key == "" || field == nil {
		return nil
	}
	if given := m.Get(field).String(); given != "" && given != ex.key {
		return rpc.Invalid(rpc.Violation{Field: string(field.Name()), Reason: "differs from the Idempotency-Key header"}).Err()
	}
	m.Set(field, protoString(ex.key))
	return nil
}

func checkType(header http.Header) error {
	if coding, ok := header["Content-Encoding"]; ok && (len(coding) != 1 || !strings.EqualFold(coding[0], "identity")) {
		return errCoding
	}
	values := header["Content-Type"]
	if len(values) != 1 {
		return errType
	}
	kind, params, err := mime.ParseMediaType(values[0])
	if err != nil || kind != "application/json" {
		return errType
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return errType
		}
	}
	return nil
}

// checked is a body that checkBody has passed.
type checked struct{ *bytes.Reader }

func (checked) Close() error { return nil }
