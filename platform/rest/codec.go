package rest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// codec turns messages into JSON and strict JSON into messages, for grpc-gateway.
type codec struct{}

var _ runtime.Marshaler = codec{}

var (
	encode = protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}
	decode = protojson.UnmarshalOptions{RecursionLimit: maxDepth}
	parts  = &runtime.JSONPb{MarshalOptions: encode, UnmarshalOptions: decode}
)

// ContentType implements runtime.Marshaler.
func (codec) ContentType(any) string { return "application/json" }

// Marshal implements runtime.Marshaler.
func (c codec) Marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case *spb.Status:
		return encodeStatus(v)
	case proto.Message:
		return encode.Marshal(v)
	case map[string]any: // {"result": …}: a line of a stream
		if m, ok := v["result"].(proto.Message); ok {
			return c.line("result", m)
		}
	case map[string]proto.Message: // {"error": …}: its last line
		if m, ok := v["error"]; ok {
			return c.line("error", m)
		}
	}
	return parts.Marshal(v)
}

func (c codec) line(name string, m proto.Message) ([]byte, error) {
	b, err := c.Marshal(m)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(b)+len(name)+5)
	out = append(append(append(out, `{"`...), name...), `":`...)
	return append(append(out, b...), '}'), nil
}

// encodeStatus leaves out what a detail does not say, and never the details as a whole.
func encodeStatus(st *spb.Status) ([]byte, error) {
	answer := struct {
		Code    int32             `json:"code"`
		Message string            `json:"message"`
		Details []json.RawMessage `json:"details"`
	}{st.GetCode(), st.GetMessage(), make([]json.RawMessage, 0, len(st.GetDetails()))}
	for _, d := range st.GetDetails() {
		b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(d)
		if err != nil {
			return nil, err
		}
		answer.Details = append(answer.Details, b)
	}
	return json.Marshal(answer)
}

// errMisfit stands for an error of protojson, which would repeat values; misfit finds out more.
var errMisfit = errors.New("a value is not of its field's kind")

// Unmarshal implements runtime.Marshaler.
func (codec) Unmarshal(data []byte, v any) error {
	m, ok := message(v)
	if !ok {
		return parts.Unmarshal(data, v)
	}
	if decode.Unmarshal(data, m) != nil {
		return errMisfit
	}
	return nil
}

// message is the message that v is, or, when v points to a field of a message that has none yet, a new one in that field.
func message(v any) (proto.Message, bool) {
	if m, ok := v.(proto.Message); ok {
		return m, true
	}
	field := reflect.ValueOf(v)
	if field.Kind() != reflect.Pointer || field.Elem().Kind() != reflect.Pointer {
		return nil, false
	}
	if field = field.Elem(); field.IsNil() {
		field.Set(reflect.New(field.Type().Elem()))
	}
	return reflect.TypeAssert[proto.Message](field)
}

// NewDecoder implements runtime.Marshaler: a body of lines gives a message for each, any other one message.
func (c codec) NewDecoder(r io.Reader) runtime.Decoder {
	if l, ok := r.(*lines); ok {
		return runtime.DecoderFunc(func(v any) error { return l.decode(c, v) })
	}
	return runtime.DecoderFunc(func(v any) error {
		raw, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if len(raw) == 0 {
			return io.EOF // grpc-gateway takes it for a message without fields
		}
		return c.Unmarshal(raw, v)
	})
}

// NewEncoder implements runtime.Marshaler.
func (c codec) NewEncoder(w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		b, err := c.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(append(b, '\n'))
		return err
	})
}

// Delimiter implements runtime.Delimited.
func (codec) Delimiter() []byte { return []byte("\n") }

// StreamContentType implements runtime.StreamContentType.
func (codec) StreamContentType(any) string { return "application/x-ndjson" }

// maxLine is the longest line of a body of lines, in bytes.
const maxLine = 256 << 10

// lines is a body with one JSON object a line.
type lines struct{ *bufio.Scanner }

func newLineReader(r io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4<<10), maxLine)
	return s
}

func (l *lines) decode(c codec, v any) error {
	for l.Scan() {
		raw := bytes.TrimSpace(l.Bytes())
		if len(raw) == 0 {
			continue
		}
		m, ok := v.(proto.Message)
		if !ok {
			return fmt.Errorf("decode into %T", v)
		}
		message := m.ProtoReflect().Descriptor()
		if fault, ok := errors.AsType[*fault](checkJSON(raw, message)); ok {
			return fault
		}
		err := c.Unmarshal(raw, v)
		if err != nil {
			if f := misfit(raw, message, ""); f != nil {
				return f
			}
		}
		return err
	}
	if err := l.Err(); err != nil {
		return errors.New("a line of the body is too long, or the body is")
	}
	return io.EOF
}

// Read implements io.Reader; grpc-gateway discards what the decoder left.
func (l *lines) Read([]byte) (int, error) { return 0, io.EOF }

// Close implements io.Closer.
func (l *lines) Close() error { return nil }
