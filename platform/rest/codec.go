package rest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
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
func (codec) Marshal(v any) ([]byte, error) {
	if m, ok := v.(proto.Message); ok {
		return encode.Marshal(m)
	}
	return parts.Marshal(v) // the {"result": …} of a stream
}

// Unmarshal implements runtime.Marshaler.
func (codec) Unmarshal(data []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return parts.Unmarshal(data, v)
	}
	if err := decode.Unmarshal(data, m); err != nil {
		return plain(err)
	}
	return nil
}

// plain rids an error of protojson of its prefix, whose spaces change from build to build, and of its length.
func plain(err error) error {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	text = strings.TrimPrefix(strings.TrimPrefix(text, "proto:"), " ")
	const most = 200
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return errors.New(text)
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
		if fault, ok := errors.AsType[*fault](checkJSON(raw, m.ProtoReflect().Descriptor())); ok {
			return fault
		}
		return c.Unmarshal(raw, v)
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
