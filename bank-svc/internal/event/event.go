// Package event reads what a webhook says about an employee.
package event

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
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
	maxName    = 255 // runes
	maxVersion = 1<<31 - 1
)

// Parse reads the change out of an event whose envelope, and so all of its JSON, is known to be sound. An event without
// anything personal is thin: its Change has no State.
//
// Errors: ErrOther, *InvalidError.
func Parse(e webhook.Event) (account.Change, error) {
	switch e.Type {
	case Created, Updated, Terminated:
	default:
		return account.Change{}, ErrOther
	}
	var employee []byte
	if !members(e.Data, func(name, value []byte) {
		if string(name) == "employee" {
			employee = value
		}
	}) {
		return account.Change{}, &InvalidError{"data", "is not an object"}
	}
	var f fields
	if !members(employee, f.take) {
		return account.Change{}, &InvalidError{"data.employee", "is not an object"}
	}
	c := account.Change{EventID: e.ID, EmployeeID: f.employeeID(), Version: f.versionNumber(), Terminated: e.Type == Terminated}
	if f.givenName != nil || f.familyName != nil || f.currency != nil || f.status != nil {
		c.State = &account.Employee{
			ID: c.EmployeeID, Version: c.Version,
			HolderName: account.HolderName(f.name("given_name", f.givenName), f.name("family_name", f.familyName)),
			Currency:   f.currencyCode(),
			Terminated: f.terminated(),
		}
	}
	return c, f.err
}

// fields are an employee's, as they are written; nil where there is none. The first fault that is found stays.
type fields struct {
	id, version, givenName, familyName, currency, status []byte

	err error
}

func (f *fields) take(name, value []byte) {
	switch string(name) {
	case "id":
		f.id = value
	case "version":
		f.version = value
	case "given_name":
		f.givenName = value
	case "family_name":
		f.familyName = value
	case "currency":
		f.currency = value
	case "status":
		f.status = value
	}
}

func (f *fields) fail(field, reason string) {
	if f.err == nil {
		f.err = &InvalidError{"data.employee." + field, reason}
	}
}

func (f *fields) text(field string, raw []byte) string {
	s := unquote(raw)
	if s == nil {
		f.fail(field, "is missing, or not a text")
	}
	return string(s)
}

func (f *fields) employeeID() string {
	s := f.text("id", f.id)
	if !id.Valid("emp", s) {
		f.fail("id", "is not the id of an employee")
	}
	return s
}

func (f *fields) versionNumber() int64 {
	v, err := strconv.ParseInt(string(f.version), 10, 64)
	if err != nil || v < 1 || v > maxVersion {
		f.fail("version", fmt.Sprintf("is not a number from 1 to %d", int64(maxVersion)))
		return 0
	}
	return v
}

func (f *fields) name(field string, raw []byte) string {
	s := f.text(field, raw)
	if utf8.RuneCountInString(s) > maxName {
		f.fail(field, "is too long")
	}
	if strings.ContainsFunc(s, controls) {
		f.fail(field, "has a control character")
		return ""
	}
	if !strings.ContainsFunc(s, visible) {
		f.fail(field, "is blank")
	}
	return s
}

// controls reports what acts on the text around it, such as a line break or a change of direction. The joiners may: names in
// Persian and Indic scripts need them.
func controls(c rune) bool {
	return unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) && c != '\u200c' && c != '\u200d'
}

// visible reports what can be seen by itself. What Go's tables do not know yet can, for all the bank knows.
func visible(c rune) bool {
	return !unicode.In(c, unicode.Z, unicode.M, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point) && c != '\u2800'
}

func (f *fields) currencyCode() string {
	s := f.text("currency", f.currency)
	valid := len(s) == 3
	for i := range len(s) {
		valid = valid && 'A' <= s[i] && s[i] <= 'Z'
	}
	if !valid {
		f.fail("currency", "is not a code of ISO 4217")
	}
	return s
}

func (f *fields) terminated() bool {
	switch f.text("status", f.status) {
	case "TERMINATED":
		return true
	case "ACTIVE":
	default:
		f.fail("status", "is neither ACTIVE nor TERMINATED")
	}
	return false
}
