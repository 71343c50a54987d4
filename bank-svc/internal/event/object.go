package event

import (
	"bytes"
	"encoding/json"
)

// members calls f with each name, unescaped, and each value, as it is written, of a JSON object. The text must be valid JSON:
// then this walks over it several times faster than encoding/json, which would also take names that differ in case for the
// same. It reports false when the value is not an object.
func members(object []byte, f func(name, value []byte)) bool {
	w := walker{text: object}
	w.space()
	if w.peek() != '{' {
		return false
	}
	w.skip()
	for w.space(); w.peek() == '"'; w.space() {
		name := w.value()
		w.space()
		w.skip() // :
		w.space()
		f(unquote(name), w.value())
		w.space()
		w.skip() // , or }
	}
	return true
}

// walker stands at a place in valid JSON. It never goes beyond the end, whatever the text.
type walker struct {
	text []byte
	at   int
}

func (w *walker) peek() byte {
	if w.at < len(w.text) {
		return w.text[w.at]
	}
	return 0
}

func (w *walker) skip() { w.at = min(w.at+1, len(w.text)) }

func (w *walker) space() {
	for c := w.peek(); c == ' ' || c == '\n' || c == '\r' || c == '\t'; c = w.peek() {
		w.at++
	}
}

// value takes the value at this place.
func (w *walker) value() []byte {
	start, depth := w.at, 0
	for w.at < len(w.text) {
		switch w.text[w.at] {
		case '"':
			w.skipString()
			if depth == 0 {
				return w.text[start:w.at]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 { // the end of a number or word, and of what it is in
				return w.text[start:w.at]
			}
			if depth == 0 {
				w.at++
				return w.text[start:w.at]
			}
		case ',', ' ', '\n', '\r', '\t':
			if depth == 0 {
				return w.text[start:w.at]
			}
		}
		w.at++
	}
	return w.text[start:w.at]
}

func (w *walker) skipString() {
	for w.at++; w.at < len(w.text); w.at++ {
		switch w.text[w.at] {
		case '\\':
			w.at++
		case '"':
			w.at++
			return
		}
	}
	w.at = len(w.text)
}

// unquote is the text of a JSON string; nil when it is none.
func unquote(raw []byte) []byte {
	if len(raw) < 2 || raw[0] != '"' {
		return nil
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil
	}
	return []byte(s)
}
