package event

import (
	"errors"
)

// Errors that storing events has, besides those of the database.
var (
	// ErrConflict matches a *ConflictError: an id is known with other content.
	ErrConflict = errors.New("event exists with other content")
	// ErrNotFound: there is no such event.
	ErrNotFound = errors.New("event not found")
)

// ConflictError names the event that is known with other content.
type ConflictError struct{ ID string }

// Error names the event.
func (e *ConflictError) Error() string { return "event " + e.ID + " exists with other content" }

// Is says that it is an ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }
