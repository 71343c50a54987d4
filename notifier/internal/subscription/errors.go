package subscription

import (
	"errors"
	"strings"
)

// The errors of this package, besides InvalidError and ChallengeError.
var (
	ErrNotFound = errors.New("no such subscription")
	// ErrNameTaken means that another subscription of the same owner has the name.
	ErrNameTaken = errors.New("another subscription has this name")
	// ErrStale means that the subscription is not what the caller believes it to be.
	ErrStale = errors.New("the subscription has changed since it was read")
	// ErrRequestReused means that the request id was used for another call.
	ErrRequestReused = errors.New("the request id was used with other content")
)

// Violation is one field that is not as it must be.
type Violation struct{ Field, Reason string }

// InvalidError lists what is wrong with a request. It never repeats a secret.
type InvalidError struct{ Violations []Violation }

// Error lists the fields and reasons.
func (e *InvalidError) Error() string {
	parts := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		parts[i] = v.Field + ": " + v.Reason
	}
	return strings.Join(parts, "; ")
}

func invalid(field, reason string) *InvalidError {
	return &InvalidError{[]Violation{{field, reason}}}
}

// ChallengeError is why a receiver did not pass the ownership challenge, in words for its owner.
type ChallengeError struct{ Reason string }

// Error is the reason.
func (e *ChallengeError) Error() string { return e.Reason }
