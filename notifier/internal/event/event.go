// Package event is what the notifier delivers: a fact about one employee, in the bytes that are stored, signed and sent.
package event

import (
	"crypto/sha256"
	"time"
)

// Event is one fact, as stored.
type Event struct {
	// ID is the publisher's key for it, and the webhook-id of every delivery. [A-Za-z0-9_-]{1,64}.
	ID string
	// Type is dotted words, such as employee.created.
	Type string
	// EmployeeID is data.employee.id: what orders deliveries.
	EmployeeID string
	// Version is data.employee.version, from 1.
	Version int64
	// OccurredAt is the publisher's timestamp, UTC, microseconds.
	OccurredAt time.Time
	// ReceivedAt is when the notifier took it in, UTC, microseconds.
	ReceivedAt time.Time
	// Payload is the standard body: {"id","type","timestamp","data"}. Nil once erased.
	Payload []byte
	// Traceparent is the W3C trace context of the cause; may be empty.
	Traceparent string
	// Position is its place in the feed, in the order of commits. 0 before it is stored.
	Position int64
}

// Sum identifies the content: the same id with another sum is another event.
func (e Event) Sum() [sha256.Size]byte { return sha256.Sum256(e.Payload) }
