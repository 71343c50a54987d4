package inbox

import (
	"cmp"
	"strings"
	"unicode"
	"unicode/utf8"

	"hirewire.dev/webhook"
)

const (
	maxNote  = 200
	maxError = 500
	maxKey   = 256
)

// clean makes text fit for a column and a log line: valid, without control
// characters, and at most limit bytes.
func clean(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit]
	}
	text = strings.ToValidUTF8(text, "")
	if strings.IndexFunc(text, unicode.IsControl) < 0 {
		return text
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// validKey reports whether both databases can hold the key.
func validKey(key string) bool {
	return len(key) <= maxKey && utf8.ValidString(key) && strings.IndexByte(key, 0) < 0
}

// parse reads a stored body again. The event is never nil, so that a broken one
// has its id.
func parse(id string, body []byte) (*Event, error) {
	e, err := webhook.ParseEvent(body)
	if err == nil && e.ID != "" && e.ID != id {
		err = &webhook.Error{Reason: webhook.ReasonIDMismatch}
	}
	e.ID = id
	return &Event{Event: e}, err
}

func bySeq(a, b *item) int { return cmp.Compare(a.seq, b.seq) }

// status is what a handled event becomes.
func (e *Event) status() Status {
	if e.ignored {
		return StatusIgnored
	}
	return StatusProcessed
}
