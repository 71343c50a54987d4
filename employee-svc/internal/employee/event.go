package employee

import "time"

// EventType says what happened to an employee.
type EventType string

// What can happen.
const (
	Created EventType = "employee.created"
	Updated EventType = "employee.updated"
	Ended   EventType = "employee.terminated"
)

// Event is the fact that an employee has reached a version.
type Event struct {
	// ID is "evt_" and a ULID.
	ID   string
	Type EventType
	// At is the employee's UpdatedAt.
	At time.Time
	// Employee is as the change left it.
	Employee Employee
	// Traceparent is the W3C trace context of the call that made the change; may be empty.
	Traceparent string
}

// Change is the next version of an employee, and the event that tells of it; ok is false when next changes nothing.
func Change(before, next Employee, at time.Time) (after Employee, event EventType, ok bool) {
	next.Version, next.CreatedAt, next.UpdatedAt = before.Version, before.CreatedAt, before.UpdatedAt
	if next == before {
		return before, "", false
	}
	next.Version++
	next.UpdatedAt = Moment(at)
	if before.Status == Active && next.Status == Terminated {
		return next, Ended, true
	}
	return next, Updated, true
}
