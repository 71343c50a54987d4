// Package audit is the record of who changed what. Entries are written in the transaction that makes the change.
package audit

import "time"

// Entry is one change.
type Entry struct {
	// ID is `aud_` and a ULID.
	ID string
	// At is when, UTC, microseconds.
	At time.Time
	// Actor is the name of the caller's API key, or Notifier.
	Actor string
	// Action is the method's name, such as RotateSecret.
	Action string
	// Resource is the id of what was changed.
	Resource string
	// Before and After describe it without secrets; nil where there is nothing to tell. They hold only what encoding/json
	// gives: strings, numbers, booleans, maps and slices.
	Before, After map[string]any
	// RequestID names the call, as in the logs.
	RequestID string
}

// Notifier is the actor of changes that no caller made, such as disabling after a 410.
const Notifier = "notifier"

// Query chooses entries, newest first.
type Query struct {
	// Resource restricts to one; empty: all.
	Resource string
	// Before is the id of the last entry seen; empty: from the newest.
	Before string
	// Limit is how many at most.
	Limit int
}
