// Package employee is what Hirewire knows of a person's employment: its form, its rules and how it changes.
package employee

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"
)

// Status is where the employment stands.
type Status int8

// The statuses, stored by these numbers.
const (
	Active     Status = 1
	Terminated Status = 2
)

// String is the status as the API spells it.
func (s Status) String() string {
	switch s {
	case Active:
		return "ACTIVE"
	case Terminated:
		return "TERMINATED"
	default:
		return fmt.Sprintf("Status(%d)", int8(s))
	}
}

// Employee is one person's employment. It is a value: changes make a new one.
type Employee struct {
	// ID is "emp_" and a ULID.
	ID string
	// Number is HR's own key. Unique; case matters.
	Number string
	// GivenName and FamilyName are as the person writes them.
	GivenName, FamilyName string
	// Email is unique by EmailKey.
	Email string
	// JobTitle and Department may be empty.
	JobTitle, Department string
	// HireDate is a calendar date, YYYY-MM-DD.
	HireDate string
	// Country is ISO 3166-1 alpha-2.
	Country string
	// Currency is ISO 4217.
	Currency string
	Status   Status
	// Version starts at 1 and grows by one with each change.
	Version int64
	// CreatedAt and UpdatedAt are UTC with microseconds.
	CreatedAt, UpdatedAt time.Time
}

// String names the employee without a word about the person.
func (e Employee) String() string { return e.ID + " v" + strconv.FormatInt(e.Version, 10) }

// Format prints String for every verb, so that none leaks a person into a log.
func (e Employee) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.String()) }

// LogValue is String.
func (e Employee) LogValue() slog.Value { return slog.StringValue(e.String()) }

// Hired is the first version of an employee: e's fields under a new id, at a time.
func (e Employee) Hired(id string, at time.Time) Employee {
	e.ID, e.Status, e.Version = id, Active, 1
	e.CreatedAt = Moment(at)
	e.UpdatedAt = e.CreatedAt
	return e
}

// Moment is t as it is stored: UTC, cut to microseconds.
func Moment(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
