package serve

import (
	"bytes"
	"strconv"
	"sync/atomic"
)

// maxHeaderFields bounds the number of header lines of one request.
const maxHeaderFields = 100

// Faults of a request's head that net/http lets pass.
const (
	faultNone int32 = iota
	faultFraming
	faultTooMany
)

// head follows the bytes of an HTTP/1.1 connection and finds the heads that two readers could understand differently
// (RFC 9112 sections 2.2, 5.2, 6.1): Content-Length with Transfer-Encoding or twice, lines that end in a bare LF, folded
// lines, NUL. net/http repairs these; a server behind a proxy must refuse them. A chunked request ends the following: the
// guard closes the connection after it.
type head struct {
	found atomic.Int32 // read by the handler's goroutine

	line   []byte // the beginning of the present line, at most maxLine
	prev   byte   // the last byte seen of the present line
	inside bool   // the request line was read; fields follow
	fields int
	length int64 // the declared one; -1: none
	coded  bool  // Transfer-Encoding was there
	body   int64 // bytes of the body still to skip
	ended  bool  // nothing more is looked at
}

// maxLine is enough of a header line to know its name and a length.
const maxLine = 64

func (h *head) fault() int32 { return h.found.Load() }

func (h *head) flag(fault int32) {
	h.found.Store(fault)
	h.ended = true
}

// read follows p, which came from the connection.
func (h *head) read(p []byte) {
	for len(p) > 0 && !h.ended {
		if h.body > 0 {
			n := min(h.body, int64(len(p)))
			h.body -= n
			p = p[n:]
			continue
		}
		line, rest, complete := bytes.Cut(p, []byte{'\n'})
		if bytes.IndexByte(line, 0) >= 0 {
			h.flag(faultFraming)
			return
		}
		if len(line) > 0 {
			h.prev = line[len(line)-1]
			h.line = append(h.line, line[:min(len(line), maxLine-len(h.line))]...)
		}
		if !complete {
			return
		}
		p = rest
		if h.prev != '\r' {
			h.flag(faultFraming)
			return
		}
		h.endLine(bytes.TrimSuffix(h.line, []byte{'\r'}))
		h.line, h.prev = h.line[:0], 0
	}
}

func (h *head) endLine(line []byte) {
	switch {
	case !h.inside:
		// Empty lines before a request line are skipped (RFC 9112 section 2.2).
		h.inside, h.length, h.coded, h.fields = len(line) > 0, -1, false, 0
	case len(line) == 0:
		h.endHead()
	case line[0] == ' ' || line[0] == '\t':
		h.flag(faultFraming)
	default:
		h.field(line)
	}
}

var (
	codingField = []byte("transfer-encoding")
	lengthField = []byte("content-length")
)

func (h *head) field(line []byte) {
	if h.fields++; h.fields > maxHeaderFields {
		h.flag(faultTooMany)
		return
	}
	name, value, _ := bytes.Cut(line, []byte{':'})
	switch {
	case bytes.EqualFold(name, codingField):
		h.coded = true
	case bytes.EqualFold(name, lengthField):
		n, err := strconv.ParseUint(string(bytes.Trim(value, " \t")), 10, 63)
		if err != nil || h.length >= 0 {
			h.flag(faultFraming)
			return
		}
		h.length = int64(n)
	}
}

func (h *head) endHead() {
	h.inside = false
	switch {
	case h.coded && h.length >= 0:
		h.flag(faultFraming)
	case h.coded:
		h.ended = true
	case h.length > 0:
		h.body = h.length
	}
}
