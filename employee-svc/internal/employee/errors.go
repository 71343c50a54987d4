package employee

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong with a call that is well-formed.
var (
	// ErrNotFound means that no employee has the id.
	ErrNotFound = errors.New("employee not found")
	// ErrNumberTaken means that another employee has the employee number.
	ErrNumberTaken = errors.New("the employee number is taken")
	// ErrEmailTaken means that another employee has the email.
	ErrEmailTaken = errors.New("the email is taken")
	// ErrRequestReused means that the request id was used for a create with other content.
	ErrRequestReused = errors.New("the request id was used with other content")
	// ErrTerminated means that the employment has ended and changes no more.
	ErrTerminated = errors.New("the employment is terminated")
	// ErrVersionConflict means that the employee has another version than the change expects.
	ErrVersionConflict = errors.New("the employee has another version")
	// ErrUnavailable means that the store did not answer in time. Whether a change was stored is unknown.
	ErrUnavailable = errors.New("the employees cannot be reached in time")
)

// InvalidError says which field breaks which rule. It never holds the value.
type InvalidError struct {
	// Field is the name in the API, such as "given_name".
	Field string
	// Reason reads on after the field: "must not be empty".
	Reason string
}

// Error is the field and the reason.
func (e *InvalidError) Error() string { return e.Field + " " + e.Reason }

// InvalidErrors are all the rules that an employee breaks, in the order of the fields. Never empty.
type InvalidErrors []*InvalidError

// Error joins them.
func (e InvalidErrors) Error() string {
	all := make([]string, len(e))
	for i, one := range e {
		all[i] = one.Error()
	}
	return strings.Join(all, "; ")
}

// Unwrap gives each.
func (e InvalidErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// ItemError is what is wrong with one of the creates that were to be stored together.
type ItemError struct {
	// Index counts from 0.
	Index int
	Err   error
}

// Error names the item.
func (e *ItemError) Error() string { return fmt.Sprintf("item %d: %v", e.Index, e.Err) }

// Unwrap gives the cause.
func (e *ItemError) Unwrap() error { return e.Err }
