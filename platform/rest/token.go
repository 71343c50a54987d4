package rest

import (
	"strconv"
	"unicode/utf16"
)

// text reads a string and returns it unescaped, so that "a" and "\u0061" are one name. A surrogate without its other half
// is refused: it has no form in UTF-8.
func (s *scanner) text() (string, *fault) {
	s.at++ // "
	start := s.at
	var out []byte // nil until there is an escape
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == '"':
			s.at++
			if out == nil {
				return string(s.data[start : s.at-1]), nil
			}
			return string(out), nil
		case c < 0x20:
			return "", s.syntax()
		case c == '\\':
			if out == nil {
				out = append(make([]byte, 0, 2*(s.at-start)+16), s.data[start:s.at]...)
			}
			r, ok := s.escape()
			if !ok {
				return "", s.syntax()
			}
			out = append(out, string(r)...)
		default:
			if out != nil {
				out = append(out, c)
			}
			s.at++
		}
	}
	return "", s.syntax()
}

func (s *scanner) escape() (rune, bool) {
	if s.at+1 >= len(s.data) {
		return 0, false
	}
	c := s.data[s.at+1]
	if c == 'u' {
		return s.unicode()
	}
	s.at += 2
	switch c {
	case '"', '\\', '/':
		return rune(c), true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	}
	return 0, false
}

func (s *scanner) unicode() (rune, bool) {
	high, ok := s.hex()
	if !ok || !utf16.IsSurrogate(high) {
		return high, ok
	}
	low, ok := s.hex()
	if !ok {
		return 0, false
	}
	r := utf16.DecodeRune(high, low)
	return r, r != '\uFFFD'
}

// hex reads \uXXXX.
func (s *scanner) hex() (rune, bool) {
	if s.at+6 > len(s.data) || s.data[s.at] != '\\' || s.data[s.at+1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(s.data[s.at+2:s.at+6]), 16, 16)
	if err != nil {
		return 0, false
	}
	s.at += 6
	return rune(n), true
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (s *scanner) number() *fault {
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return s.syntax()
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return s.syntax()
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		if !s.digits() {
			return s.syntax()
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.at
	for '0' <= s.peek() && s.peek() <= '9' {
		s.at++
	}
	return s.at > start
}
