package webhook

import "time"

// The header names of Standard Webhooks, in the form net/http keeps them, and
// the unsigned ones that travel along.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
	// HeaderAttempt is the number of the sender's attempt, from 1. It is not
	// signed: good for a log, not for a decision.
	HeaderAttempt = "Webhook-Attempt"
	// HeaderTraceparent is the W3C trace context. It is not signed either.
	HeaderTraceparent = "Traceparent"
)

// Event types that the contract itself reserves.
const (
	// TypeVerification asks the receiver to prove that it holds the secret.
	TypeVerification = "webhook.verification"
	// TypeTest is an event that means nothing, sent to try the way.
	TypeTest = "webhook.test"
)

const (
	// DefaultTolerance is how far a timestamp may be from the receiver's clock,
	// either way (Standard Webhooks: five minutes).
	DefaultTolerance = 5 * time.Minute
	// MaxSignatures is how many signatures one header may carry.
	MaxSignatures = 16

	maxIDLength = 64
	maxAttempt  = 9999
)

// ValidID reports whether id can be a webhook-id: 1 to 64 of A-Z, a-z, 0-9, "_"
// and "-". A dot would let an id run into the timestamp and the body, which are
// joined to it by dots before signing.
func ValidID(id string) bool {
	if id == "" || len(id) > maxIDLength {
		return false
	}
	for i := range len(id) {
		if !isIDByte(id[i]) {
			return false
		}
	}
	return true
}

func isIDByte(c byte) bool {
	return isAlphanumeric(c) || c == '_' || c == '-'
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// parseTimestamp reads exactly ten digits, the first not zero: unix seconds
// from 2001 to 2286.
func parseTimestamp(s string) (unix int64, ok bool) {
	if len(s) != 10 || s[0] == '0' {
		return 0, false
	}
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		unix = unix*10 + int64(c-'0')
	}
	return unix, true
}

// parseAttempt reads the unsigned attempt number; 0 stands for unknown.
func parseAttempt(s string) int {
	n := 0
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0
		}
		if n = n*10 + int(c-'0'); n > maxAttempt {
			return 0
		}
	}
	return n
}

// validTraceparent reports whether s has the shape of W3C trace context
// version 00: 00-<32 hex>-<16 hex>-<2 hex>.
func validTraceparent(s string) bool {
	if len(s) != 55 || s[:3] != "00-" || s[35] != '-' || s[52] != '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 2 || i == 35 || i == 52:
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
		default:
			return false
		}
	}
	return true
}
