// Package render writes an event the way a subscription wants it. It is a pure function of what is stored, so every attempt
// of a delivery sends the same bytes.
package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/subscription"
)

// ErrErased is returned for an event whose payload was removed, by the retention or on request: there is nothing to send.
var ErrErased = errors.New("the event's data was removed")

// Content types of the formats.
const (
	JSON        = "application/json"
	CloudEvents = "application/cloudevents+json"
	FormURL     = "application/x-www-form-urlencoded"
	XML         = "application/xml"
)

// Body is what is sent, and its content type. A full standard body is the stored payload itself: do not write to it.
func Body(e *event.Event, p subscription.Payload, f subscription.Format) (body []byte, contentType string, err error) {
	standard := e.Payload
	// Only events about an employee hold anything personal; the others (a test, a warning) have nothing to thin out.
	if p == subscription.Thin && e.EmployeeID != "" {
		standard = thin(e)
	}
	if standard == nil {
		return nil, "", ErrErased
	}
	switch f {
	case subscription.Standard, "":
		return standard, JSON, nil
	case subscription.CloudEvents:
		body, err = cloudEvent(e, standard)
		contentType = CloudEvents
	case subscription.Form:
		body, err = form(standard)
		contentType = FormURL
	case subscription.XML:
		body, err = xmlDocument(standard)
		contentType = XML
	default:
		err = fmt.Errorf("unknown format %q", f)
	}
	if err != nil {
		return nil, "", fmt.Errorf("render event %s: %w", e.ID, err)
	}
	return body, contentType, nil
}

// thin is the standard body with ids, type and version, and nothing personal.
func thin(e *event.Event) []byte {
	b := make([]byte, 0, 256)
	b = append(b, `{"id":`...)
	b = event.AppendString(b, e.ID)
	b = append(b, `,"type":`...)
	b = event.AppendString(b, e.Type)
	b = append(b, `,"timestamp":`...)
	b = appendTime(b, e.OccurredAt)
	b = append(b, `,"data":{"employee":{"id":`...)
	b = event.AppendString(b, e.EmployeeID)
	return fmt.Appendf(b, `,"version":%d}}}`, e.Version)
}

// cloudEvent is the structured JSON form of CloudEvents 1.0. The data are the stored bytes, not read and written again.
func cloudEvent(e *event.Event, standard []byte) ([]byte, error) {
	var parts struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(standard, &parts); err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(standard)+200)
	b = append(b, `{"specversion":"1.0","id":`...)
	b = event.AppendString(b, e.ID)
	b = append(b, `,"source":"/hirewire/notifier","type":`...)
	b = event.AppendString(b, e.Type)
	if e.EmployeeID != "" {
		b = append(b, `,"subject":`...)
		b = event.AppendString(b, e.EmployeeID)
	}
	b = append(b, `,"time":`...)
	b = appendTime(b, e.OccurredAt)
	b = append(b, `,"datacontenttype":"application/json","data":`...)
	if len(parts.Data) == 0 {
		parts.Data = json.RawMessage("null")
	}
	b = append(b, parts.Data...)
	return append(b, '}'), nil
}

func appendTime(b []byte, t time.Time) []byte {
	return append(event.AppendTime(append(b, '"'), t), '"')
}
