package webhook

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of objects and arrays.
const maxDepth = 64

// scanner reads JSON more strictly than encoding/json, which takes duplicate
// names, lets names differ in case, and replaces invalid UTF-8 and lone
// surrogates silently: two readers of such a text can see two messages. The
// rules are those of I-JSON (RFC 7493).
type scanner struct {
	data []byte
	pos  int
	// names holds the decoded names of all objects that are open. Most share
	// memory with data.
	names [][]byte
}

// scanObject reads data as one JSON object with nothing after it, and calls member
// for each of its members in turn.
func scanObject(data []byte, member func(name, value []byte) error) error {
	if !utf8.Valid(data) {
		return &Error{Reason: ReasonInvalidJSON, Detail: "not UTF-8"}
	}
	s := scanner{data: data, names: make([][]byte, 0, 2*fewNames)}
	s.space()
	if s.peek() != '{' {
		return &Error{Reason: ReasonInvalidJSON, Detail: "not an object"}
	}
	if err := s.object(1, member); err != nil {
		return err
	}
	s.space()
	if s.pos != len(data) {
		return s.syntax()
	}
	return nil
}

func (s *scanner) syntax() error {
	return &Error{Reason: ReasonInvalidJSON, Detail: "at byte " + strconv.Itoa(s.pos)}
}

// peek returns the next byte, 0 at the end; a 0 in the text is no JSON either.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) expect(c byte) error {
	if s.peek() != c {
		return s.syntax()
	}
	s.pos++
	return nil
}

func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(depth+1, nil)
	case c == '[':
		return s.array(depth + 1)
	case c == '"':
		_, err := s.text()
		return err
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	default:
		return s.syntax()
	}
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		return s.syntax()
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) object(depth int, member func(name, value []byte) error) error {
	if depth > maxDepth {
		return &Error{Reason: ReasonInvalidJSON, Detail: "nested too deep"}
	}
	s.pos++ // the brace
	seen := nameSet{s: s, start: len(s.names)}
	defer seen.close()
	s.space()
	for first := true; s.peek() != '}'; first = false {
		if !first {
			if err := s.expect(','); err != nil {
				return err
			}
			s.space()
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		if !seen.add(name) {
			return &Error{Reason: ReasonDuplicateKey}
		}
		s.space()
		if err := s.expect(':'); err != nil {
			return err
		}
		s.space()
		start := s.pos
		if err := s.value(depth); err != nil {
			return err
		}
		if member != nil {
			if err := member(name, s.data[start:s.pos]); err != nil {
				return err
			}
		}
		s.space()
	}
	s.pos++
	return nil
}

func (s *scanner) array(depth int) error {
	if depth > maxDepth {
		return &Error{Reason: ReasonInvalidJSON, Detail: "nested too deep"}
	}
	s.pos++ // the bracket
	s.space()
	for first := true; s.peek() != ']'; first = false {
		if !first {
			if err := s.expect(','); err != nil {
				return err
			}
			s.space()
		}
		if err := s.value(depth); err != nil {
			return err
		}
		s.space()
	}
	s.pos++
	return nil
}

// text reads a string and returns it with its quotes.
func (s *scanner) text() ([]byte, error) {
	if err := s.expect('"'); err != nil {
		return nil, err
	}
	start := s.pos - 1
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.data[start:s.pos], nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < 0x20:
			return nil, s.syntax()
		default:
			s.pos++
		}
	}
	return nil, s.syntax()
}

// name reads a string and returns what it means, so that "a" and "\u0061" are
// the same name.
func (s *scanner) name() ([]byte, error) {
	quoted, err := s.text()
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	text, err := unescape(quoted)
	return []byte(text), err
}

// unescape leaves the decoding of a checked string to the standard library, if
// there is anything to decode.
func unescape(quoted []byte) (string, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return "", &Error{Reason: ReasonInvalidJSON, Detail: "bad string"}
	}
	return text, nil
}

// escape reads a backslash and what belongs to it. Half a surrogate pair stands
// for no character and is refused.
func (s *scanner) escape() error {
	s.pos++
	c := s.peek()
	if c != 'u' {
		if c == 0 || !strings.ContainsRune(`"\/bfnrt`, rune(c)) {
			return s.syntax()
		}
		s.pos++
		return nil
	}
	unit, err := s.unit()
	if err != nil {
		return err
	}
	switch {
	case unit < 0xd800 || unit > 0xdfff:
		return nil
	case unit > 0xdbff || s.peek() != '\\':
		return s.syntax()
	}
	s.pos++
	if s.peek() != 'u' {
		return s.syntax()
	}
	low, err := s.unit()
	if err != nil {
		return err
	}
	if low < 0xdc00 || low > 0xdfff {
		return s.syntax()
	}
	return nil
}

// unit reads "u" and four hexadecimal digits.
func (s *scanner) unit() (uint64, error) {
	if s.pos+5 > len(s.data) {
		return 0, s.syntax()
	}
	digits := string(s.data[s.pos+1 : s.pos+5])
	unit, err := strconv.ParseUint(digits, 16, 16)
	if err != nil || strings.ContainsAny(digits, "+_") {
		return 0, s.syntax()
	}
	s.pos += 5
	return unit, nil
}

func (s *scanner) number() error {
	start := s.pos
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return s.syntax()
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.syntax()
		}
	}
	exponent := s.peek() == 'e' || s.peek() == 'E'
	if exponent {
		s.pos++
		if s.peek() == '+' || s.peek() == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.syntax()
		}
	}
	if exponent || s.pos-start > 300 {
		if _, err := strconv.ParseFloat(string(s.data[start:s.pos]), 64); err != nil {
			return &Error{Reason: ReasonInvalidJSON, Detail: "a number beyond every range"}
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}

// nameSet finds names that come twice in one object. Few names are compared one
// by one; a map takes over before that could become slow.
type nameSet struct {
	s     *scanner
	start int
	index map[string]struct{}
}

const fewNames = 16

func (n *nameSet) add(name []byte) bool {
	own := n.s.names[n.start:]
	switch {
	case n.index != nil:
		if _, dup := n.index[string(name)]; dup {
			return false
		}
		n.index[string(name)] = struct{}{}
		return true
	case len(own) < fewNames:
		for _, other := range own {
			if bytes.Equal(other, name) {
				return false
			}
		}
	default:
		n.index = make(map[string]struct{}, 2*fewNames)
		for _, other := range own {
			n.index[string(other)] = struct{}{}
		}
		return n.add(name)
	}
	n.s.names = append(n.s.names, name)
	return true
}

func (n *nameSet) close() { n.s.names = n.s.names[:n.start] }
