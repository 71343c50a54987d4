package rest

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"hirewire.dev/platform/rpc"
)

// maxDepth bounds the nesting of a body.
const maxDepth = 64

// fault is what is wrong with a body.
type fault struct {
	field  string // path; empty for the body as a whole
	reason string
}

func (f *fault) Error() string {
	if f.field == "" {
		return f.reason
	}
	return f.field + ": " + f.reason
}

// checkJSON refuses what is not exactly one JSON object (RFC 8259) in UTF-8 without repeated names at any depth. Where the
// message is known, each name must be one of its fields, by proto or JSON name and not by both. The returned error is a
// *fault.
func checkJSON(raw []byte, message protoreflect.MessageDescriptor) error {
	if !utf8.Valid(raw) {
		return &fault{reason: "the body is not valid UTF-8"}
	}
	s := scanner{data: raw}
	s.space()
	if s.peek() != '{' {
		return &fault{reason: "the body must be a JSON object"}
	}
	if f := s.object(form{message: message}, "", 1); f != nil {
		return f
	}
	s.space()
	if s.at < len(s.data) {
		return &fault{reason: "there is something after the JSON object"}
	}
	return nil
}

// scanner walks JSON text without building values.
type scanner struct {
	data []byte
	at   int
}

func (s *scanner) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) syntax() *fault {
	return &fault{reason: fmt.Sprintf("malformed JSON at byte %d", s.at)}
}

// form is what a value is known to be.
type form struct {
	message protoreflect.MessageDescriptor // nil: not a message, or anything
	float   bool
}

const (
	timestamp = "google.protobuf.Timestamp"
	fieldMask = "google.protobuf.FieldMask"
)

func (s *scanner) value(as form, path string, depth int) *fault {
	s.space()
	switch c := s.peek(); {
	case c == '{':
		return s.object(as, path, depth)
	case c == '[':
		return s.array(as, path, depth)
	case c == '"':
		text, f := s.text()
		switch {
		case f != nil:
		case as.float && (text == "NaN" || text == "Infinity" || text == "-Infinity"):
			f = &fault{field: path, reason: "must be a finite number"}
		case as.message != nil && as.message.FullName() == timestamp:
			if _, err := rpc.ParseTime(text); err != nil {
				f = &fault{field: path, reason: rpc.TimeReason}
			}
		}
		return f
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if len(s.data)-s.at >= len(word) && string(s.data[s.at:s.at+len(word)]) == word {
			s.at += len(word)
			return nil
		}
	}
	return s.syntax()
}

func (s *scanner) object(as form, path string, depth int) *fault {
	if depth > maxDepth {
		return &fault{reason: "the body is nested too deeply"}
	}
	s.at++ // {
	var seen names
	s.space()
	if s.peek() == '}' {
		s.at++
		return nil
	}
	for {
		s.space()
		if s.peek() != '"' {
			return s.syntax()
		}
		name, f := s.text()
		if f != nil {
			return f
		}
		below, key, f := child(as.message, path, name)
		if f != nil {
			return f
		}
		if !seen.add(key) {
			return &fault{field: join(path, clip(name)), reason: "given more than once"}
		}
		s.space()
		if s.peek() != ':' {
			return s.syntax()
		}
		s.at++
		if f := s.value(below, join(path, clip(name)), depth+1); f != nil {
			return f
		}
		s.space()
		switch s.peek() {
		case ',':
			s.at++
		case '}':
			s.at++
			return nil
		default:
			return s.syntax()
		}
	}
}

func (s *scanner) array(as form, path string, depth int) *fault {
	if depth > maxDepth {
		return &fault{reason: "the body is nested too deeply"}
	}
	s.at++ // [
	s.space()
	if s.peek() == ']' {
		s.at++
		return nil
	}
	for i := 0; ; i++ {
		if f := s.value(as, fmt.Sprintf("%s[%d]", path, i), depth+1); f != nil {
			return f
		}
		s.space()
		switch s.peek() {
		case ',':
			s.at++
		case ']':
			s.at++
			return nil
		default:
			return s.syntax()
		}
	}
}

// child finds the field that name stands for: its form, and the key under which it counts as repeated. Well-known types
// have a JSON form of their own, which protojson checks.
func child(message protoreflect.MessageDescriptor, path, name string) (below form, key string, f *fault) {
	if message == nil || message.FullName().Parent() == "google.protobuf" {
		return form{}, name, nil
	}
	if message.IsMapEntry() {
		return formOf(message.Fields().ByNumber(2)), name, nil
	}
	field := message.Fields().ByJSONName(name)
	if field == nil {
		field = message.Fields().ByTextName(name)
	}
	if field == nil {
		return form{}, "", &fault{field: join(path, clip(name)), reason: "unknown field"}
	}
	return formOf(field), string(field.Name()), nil
}

func formOf(field protoreflect.FieldDescriptor) form {
	message := field.Message()
	float := field.Kind() == protoreflect.DoubleKind || field.Kind() == protoreflect.FloatKind
	if message != nil && (message.FullName() == "google.protobuf.DoubleValue" || message.FullName() == "google.protobuf.FloatValue") {
		float = true
	}
	return form{message, float}
}

// names is a set that is small in almost every body.
type names struct {
	few  []string
	many map[string]struct{}
}

func (n *names) add(name string) bool {
	const most = 16
	if n.many != nil {
		_, known := n.many[name]
		n.many[name] = struct{}{}
		return !known
	}
	if slices.Contains(n.few, name) {
		return false
	}
	n.few = append(n.few, name)
	if len(n.few) > most {
		n.many = make(map[string]struct{}, 4*most)
		for _, known := range n.few {
			n.many[known] = struct{}{}
		}
	}
	return true
}
