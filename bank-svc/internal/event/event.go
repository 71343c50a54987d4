// Package event reads what a webhook says about an employee.
package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf8"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/platform/id"
	"hirewire.dev/webhook"
)

// The types of event that do something to an account.
const (
	Created    = "employee.created"
	Updated    = "employee.updated"
	Terminated = "employee.terminated"
)

// ErrOther says that the event is none of a bank's business: an unknown type, or a test.
var ErrOther = errors.New("unknown type")

// InvalidError says which field of a rightly signed event makes no sense. It never repeats the value.
type InvalidError struct{ Field, Reason string }

// Error names the field.
func (e *InvalidError) Error() string { return e.Field + ": " + e.Reason }

const (
	maxName    = 255     // runes
	maxVersion = 1 << 53 // what every reader of JSON holds exactly
)

// Parse reads the change out of an event whose envelope is known to be sound. Names are compared exactly, unlike by
// encoding/json on structs. An event without anything personal is thin: its Change has no State.
//
// Errors: ErrOther, *InvalidError.
func Parse(e webhook.Event) (account.Change, error) {
	switch e.Type {
	case Created, Updated, Terminated:
	default:
		return account.Change{}, ErrOther
	}
	var data, employee map[string]json.RawMessage
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return account.Change{}, &InvalidError{"data", "is not an object"}
	}
	if err := json.Unmarshal(data["employee"], &employee); err != nil || employee == nil {
		return account.Change{}, &InvalidError{"data.employee", "is not an object"}
	}
	r := reader{fields: employee}
	c := account.Change{EventID: e.ID, EmployeeID: r.id(), Version: r.version(), Terminated: e.Type == Terminated}
	if r.has("given_name", "family_name", "currency", "status") {
		c.State = &account.Employee{
			ID: c.EmployeeID, Version: c.Version,
			HolderName: account.HolderName(r.name("given_name"), r.name("family_name")),
			Currency:   r.currency(),
			Terminated: r.terminated(),
		}
	}
	return c, r.err
}

// reader reads fields and keeps the first fault.
type reader struct {
	fields map[string]json.RawMessage
	err    error
}

func (r *reader) fail(field, reason string) {
	if r.err == nil {
		r.err = &InvalidError{"data.employee." + field, reason}
	}
}

func (r *reader) has(fields ...string) bool {
	for _, f := range fields {
		if _, ok := r.fields[f]; ok {
			return true
		}
	}
	return false
}

func (r *reader) text(field string) string {
	raw, ok := r.fields[field]
	if !ok {
		r.fail(field, "is missing")
		return ""
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		r.fail(field, "is not a text")
		return ""
	}
	return *s
}

func (r *reader) id() string {
	s := r.text("id")
	if !id.Valid("emp", s) {
		r.fail("id", "is not the id of an employee")
	}
	return s
}

func (r *reader) version() int64 {
	v, err := strconv.ParseInt(string(r.fields["version"]), 10, 64)
	if err != nil || v < 1 || v > maxVersion {
		r.fail("version", fmt.Sprintf("is not a number from 1 to %d", int64(maxVersion)))
		return 0
	}
	return v
}

func (r *reader) name(field string) string {
	s := r.text(field)
	if utf8.RuneCountInString(s) > maxName {
		r.fail(field, "is too long")
	}
	blank := true
	for _, c := range s {
		if unicode.IsControl(c) {
			r.fail(field, "has a control character")
			return ""
		}
		blank = blank && unicode.IsSpace(c)
	}
	if blank {
		r.fail(field, "is blank")
	}
	return s
}

func (r *reader) currency() string {
	s := r.text("currency")
	valid := len(s) == 3
	for i := range len(s) {
		valid = valid && 'A' <= s[i] && s[i] <= 'Z'
	}
	if !valid {
		r.fail("currency", "is not a code of ISO 4217")
	}
	return s
}

func (r *reader) terminated() bool {
	switch s := r.text("status"); s {
	case "TERMINATED":
		return true
	case "ACTIVE":
	default:
		r.fail("status", "is neither ACTIVE nor TERMINATED")
	}
	return false
}
