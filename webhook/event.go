package webhook

import (
	"encoding/json"
	"strings"
	"time"
)

// Event is the body of a message: {"id", "type", "timestamp", "data"}.
type Event struct {
	// ID is the webhook-id: the key to deduplicate by.
	ID string
	// Type is the dotted name of what happened, such as employee.created.
	Type string
	// Timestamp is when it happened; the time of sending is in [Delivery].
	Timestamp time.Time
	// Data is the JSON object that belongs to the type, already known to be
	// valid UTF-8 without duplicate names. It shares memory with the body.
	Data json.RawMessage
}

const (
	maxTypeLength = 256
	minYear       = 2000
	maxYear       = 2199
)

// ParseEvent reads a body strictly: one JSON object in valid UTF-8, no name
// twice in any object, depth at most 64, with a type of dotted segments, an RFC
// 3339 timestamp in the years 2000 to 2199 and an object as data. An id may be
// missing, as Standard Webhooks has it in the header; then ID is "". Further
// members are let be. A refusal is an [*Error] with the reason invalid_json,
// duplicate_key, missing_field or invalid_field.
func ParseEvent(body []byte) (Event, error) {
	var e Event
	var hasType, hasTimestamp, hasData bool
	err := scanObject(body, func(name, value []byte) (err error) {
		switch string(name) {
		case "id":
			e.ID, err = textField("id", value, ValidID)
		case "type":
			hasType = true
			e.Type, err = textField("type", value, validType)
		case "timestamp":
			hasTimestamp = true
			e.Timestamp, err = timeField("timestamp", value)
		case "data":
			hasData = true
			if value[0] != '{' {
				return &Error{Reason: ReasonInvalidField, Detail: "data"}
			}
			e.Data = value
		}
		return err
	})
	switch {
	case err != nil:
	case !hasType:
		err = &Error{Reason: ReasonMissingField, Detail: "type"}
	case !hasTimestamp:
		err = &Error{Reason: ReasonMissingField, Detail: "timestamp"}
	case !hasData:
		err = &Error{Reason: ReasonMissingField, Detail: "data"}
	}
	if err != nil {
		return Event{}, err
	}
	return e, nil
}

// parseSigned is ParseEvent for a body that came under a webhook-id.
func parseSigned(id string, body []byte) (Event, error) {
	e, err := ParseEvent(body)
	if err != nil {
		return Event{}, err
	}
	if e.ID == "" {
		e.ID = id
	}
	if e.ID != id {
		return Event{}, &Error{Reason: ReasonIDMismatch}
	}
	return e, nil
}

func textField(name string, value []byte, valid func(string) bool) (string, error) {
	if value[0] != '"' {
		return "", &Error{Reason: ReasonInvalidField, Detail: name}
	}
	text, err := unescape(value)
	if err != nil || !valid(text) {
		return "", &Error{Reason: ReasonInvalidField, Detail: name}
	}
	return text, nil
}

// timeField takes RFC 3339 as package time does, which is a little more: an
// hour of one digit, a comma before the fraction. It keeps microseconds.
func timeField(name string, value []byte) (time.Time, error) {
	text, err := textField(name, value, func(string) bool { return true })
	if err != nil {
		return time.Time{}, err
	}
	var t time.Time
	if err := t.UnmarshalText([]byte(text)); err != nil {
		return time.Time{}, &Error{Reason: ReasonInvalidField, Detail: name}
	}
	t = t.UTC().Truncate(time.Microsecond)
	if t.Year() < minYear || t.Year() > maxYear {
		return time.Time{}, &Error{Reason: ReasonInvalidField, Detail: name}
	}
	return t, nil
}

// validType takes segments of A-Z, a-z, 0-9 and "_", joined by dots.
func validType(text string) bool {
	if text == "" || len(text) > maxTypeLength {
		return false
	}
	for segment := range strings.SplitSeq(text, ".") {
		if segment == "" {
			return false
		}
		for i := range len(segment) {
			if !isAlphanumeric(segment[i]) && segment[i] != '_' {
				return false
			}
		}
	}
	return true
}
