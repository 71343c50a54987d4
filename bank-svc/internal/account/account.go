// Package account is what a bank keeps for an employee, and what each thing it hears about the employee does to it.
package account

import (
	"errors"
	"strings"
	"time"
)

// Errors of accounts.
var (
	// ErrNotFound says that there is no such account.
	ErrNotFound = errors.New("no such account")
	// ErrUnknownEmployee says that the source of truth has no such employee.
	ErrUnknownEmployee = errors.New("the source of truth has no such employee")
	// ErrSourceBehind says that the source of truth has not reached a version that an event told of.
	ErrSourceBehind = errors.New("the source of truth is behind the event")
)

// Status is whether an account is in use.
type Status string

// The statuses of an account.
const (
	Open   Status = "OPEN"
	Closed Status = "CLOSED"
	// Tombstone marks an employee whose end was heard of before an account was opened: none is opened by anything older.
	Tombstone Status = "TOMBSTONE"
)

// Account is one employee's account, or the tombstone in its place. A bank has at most one for each employee.
type Account struct {
	ID              string // acc_ and a ULID
	Number          string // an IBAN; empty for a tombstone
	HolderName      string
	Currency        string // ISO 4217
	Status          Status
	EmployeeID      string
	EmployeeVersion int64  // of the employee that it shows
	OpenedByEventID string // empty when a reconciliation opened it
	BalanceMinor    int64  // in the currency's minor unit
	CreatedAt       time.Time
	UpdatedAt       time.Time
}

// Employee is what a bank needs to know of an employee, at one version.
type Employee struct {
	ID         string
	HolderName string
	Currency   string // ISO 4217
	Terminated bool
	Version    int64 // from 1
}

// HolderName is how a person's names stand on an account.
func HolderName(given, family string) string {
	return strings.TrimSpace(strings.TrimSpace(given) + " " + strings.TrimSpace(family))
}
