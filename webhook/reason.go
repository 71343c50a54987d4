package webhook

import (
	"errors"
	"time"
)

// Reason says why a request was refused or a message quarantined. The set is
// closed, so a reason may label a metric. It is for the receiver's own log and
// counters: the sender of a bad request gets none of it.
type Reason string

// Why a request is refused.
const (
	// ReasonMethod: not a POST.
	ReasonMethod Reason = "method"
	// ReasonContentType: not application/json, or an encoded body.
	ReasonContentType Reason = "content_type"
	// ReasonTooLarge: the body is longer than the receiver takes.
	ReasonTooLarge Reason = "too_large"
	// ReasonSlowBody: the body did not arrive in time.
	ReasonSlowBody Reason = "slow_body"
	// ReasonBrokenBody: the connection or its framing broke within the body.
	ReasonBrokenBody Reason = "broken_body"
	// ReasonEmptyBody: rightly signed, but nothing is in it.
	ReasonEmptyBody Reason = "empty_body"

	// ReasonMissingHeader: no webhook-id, -timestamp or -signature.
	ReasonMissingHeader Reason = "missing_header"
	// ReasonDuplicateHeader: one of the three came more than once.
	ReasonDuplicateHeader Reason = "duplicate_header"
	// ReasonMalformedID: see [ValidID].
	ReasonMalformedID Reason = "malformed_id"
	// ReasonMalformedTimestamp: not ten digits of unix seconds.
	ReasonMalformedTimestamp Reason = "malformed_timestamp"
	// ReasonTooOld: sent before the tolerance. A replay, or clocks that differ.
	ReasonTooOld Reason = "too_old"
	// ReasonTooNew: sent in the future, beyond the tolerance. Clocks differ.
	ReasonTooNew Reason = "too_new"
	// ReasonTooManySignatures: more than [MaxSignatures].
	ReasonTooManySignatures Reason = "too_many_signatures"
	// ReasonMalformedSignature: nothing in the header is a signature in form.
	ReasonMalformedSignature Reason = "malformed_signature"
	// ReasonUnknownVersion: there are signatures, but of no kind that the
	// receiver holds a key for.
	ReasonUnknownVersion Reason = "unknown_version"
	// ReasonBodyChanged: the signature fits the body after a change that
	// proxies and frameworks make: white space changed, or the body lost.
	ReasonBodyChanged Reason = "body_changed"
	// ReasonNoMatch: a signature in right form fits no key: a wrong or expired
	// secret, or a message that was tampered with.
	ReasonNoMatch Reason = "no_match"
)

// Why a rightly signed message is quarantined.
const (
	// ReasonInvalidJSON: not one JSON object in valid UTF-8, or nested too
	// deep, or with a number that no float64 can hold.
	ReasonInvalidJSON Reason = "invalid_json"
	// ReasonDuplicateKey: a name twice in one object.
	ReasonDuplicateKey Reason = "duplicate_key"
	// ReasonMissingField: no type, timestamp or data.
	ReasonMissingField Reason = "missing_field"
	// ReasonInvalidField: a field is there but cannot mean anything.
	ReasonInvalidField Reason = "invalid_field"
	// ReasonIDMismatch: the id in the body is not the webhook-id.
	ReasonIDMismatch Reason = "id_mismatch"
	// ReasonNotUnderstood: the store could make nothing of the event.
	ReasonNotUnderstood Reason = "not_understood"
)

// ReasonStore says that the message is good, but the store could not take it.
const ReasonStore Reason = "store"

// Reasons lists all of them, for whoever registers a counter for each.
func Reasons() []Reason {
	return []Reason{
		ReasonMethod, ReasonContentType, ReasonTooLarge, ReasonSlowBody, ReasonBrokenBody, ReasonEmptyBody,
		ReasonMissingHeader, ReasonDuplicateHeader, ReasonMalformedID, ReasonMalformedTimestamp,
		ReasonTooOld, ReasonTooNew, ReasonTooManySignatures, ReasonMalformedSignature,
		ReasonUnknownVersion, ReasonBodyChanged, ReasonNoMatch,
		ReasonInvalidJSON, ReasonDuplicateKey, ReasonMissingField, ReasonInvalidField, ReasonIDMismatch, ReasonNotUnderstood,
		ReasonStore,
	}
}

// Error makes a Reason a target for errors.Is.
func (r Reason) Error() string { return string(r) }

// Error is a refusal with what a log wants to know. It never holds text of the
// request, only the name of the header or field, so it is safe to log.
type Error struct {
	Reason Reason
	// Detail names the header or the field, where one is to blame.
	Detail string
	// Skew is, for too_old and too_new, the sender's clock minus ours.
	Skew time.Duration
}

// Error gives the reason and the detail.
func (e *Error) Error() string {
	text := string(e.Reason)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Skew != 0 {
		text += " (" + e.Skew.String() + " from this clock)"
	}
	return text
}

// Unwrap lets errors.Is(err, ReasonTooOld) work.
func (e *Error) Unwrap() error { return e.Reason }

// ReasonOf returns the reason within err, "" if there is none.
func ReasonOf(err error) Reason {
	r, _ := errors.AsType[Reason](err)
	return r
}
