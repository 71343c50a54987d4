package webhook

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"
)

// The bodies of all answers but the challenge's. They say nothing that the
// status does not.
var (
	replyAccepted    = []byte(`{"status":"accepted"}`)
	replyRefused     = []byte(`{"status":"refused"}`)
	replyUnavailable = []byte(`{"status":"unavailable"}`)
)

// The headers of all answers. net/http reads them only.
var (
	headerJSON    = []string{"application/json"}
	headerNoStore = []string{"no-store"}
	headerNoSniff = []string{"nosniff"}
)

func reply(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"], h["Cache-Control"], h["X-Content-Type-Options"] = headerJSON, headerNoStore, headerNoSniff
	w.WriteHeader(status)
	w.Write(body)
}

func refuse(w http.ResponseWriter, status int, err error) Observation {
	if status == http.StatusRequestEntityTooLarge || status == http.StatusRequestTimeout {
		w.Header().Set("Connection", "close") // the rest of the body is not worth waiting for
	}
	reply(w, status, replyRefused)
	return Observation{Outcome: Refused, Status: status, Reason: ReasonOf(err), Err: err}
}

// isPlainJSON reports whether the body is application/json as it stands: what
// is signed are the bytes on the wire, so there is nothing to decode first.
func isPlainJSON(h http.Header) bool {
	types := h["Content-Type"]
	if len(types) != 1 {
		return false
	}
	if encoding := h["Content-Encoding"]; len(encoding) > 1 || len(encoding) == 1 && !strings.EqualFold(encoding[0], "identity") {
		return false
	}
	if types[0] == "application/json" {
		return true
	}
	media, params, err := mime.ParseMediaType(types[0])
	if err != nil || media != "application/json" {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

// firstRead bounds what is allocated on the word of a Content-Length alone.
const firstRead = 8 << 10

// readBody reads at most MaxBody bytes, under the deadline that is set. Memory
// grows with what has come, not with what was announced.
func (r *Receiver) readBody(w http.ResponseWriter, req *http.Request) (body []byte, status int, err error) {
	size := int64(firstRead)
	if req.ContentLength >= 0 && req.ContentLength < size {
		size = req.ContentLength + 1 // room to see the end without growing
	}
	body, err = appendAll(make([]byte, 0, size), req.Body, r.config.MaxBody)
	switch {
	case err == nil:
		// The store has its own deadline: this one must not break its context.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		return body, 0, nil
	case errors.Is(err, errTooLarge):
		return body, http.StatusRequestEntityTooLarge, &Error{Reason: ReasonTooLarge}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return body, http.StatusRequestTimeout, &Error{Reason: ReasonSlowBody}
	default:
		return body, http.StatusBadRequest, &Error{Reason: ReasonBrokenBody}
	}
}

var errTooLarge = errors.New("body too large")

func appendAll(dst []byte, from io.Reader, limit int64) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := from.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case int64(len(dst)) > limit:
			return dst, errTooLarge
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return dst, err
		}
	}
}
