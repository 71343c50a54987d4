package employee

import "time"

// Create asks for one new employee.
type Create struct {
	// RequestID is the caller's key for this create, unique for the caller; a repeated one is the same create. May be empty.
	RequestID string
	// Employee is clean; the fields that are the service's own are not looked at.
	Employee Employee
}

// Result is the answer to a Create.
type Result struct {
	// Employee is as the first call with the request id made it.
	Employee Employee
	// Existing is set when an earlier call with the request id made it.
	Existing bool
}

// Caller is who asks for a change.
type Caller struct {
	// Name is the caller's key: request ids are unique for it.
	Name string
	// Traceparent is the trace context of the call; may be empty.
	Traceparent string
}

// Query asks for a page of employees, in the order in which their last changes were committed.
type Query struct {
	// After is the position of the last employee of the page before; 0 begins.
	After int64
	// Limit is the most employees to answer with, at least 1.
	Limit int
	// UpdatedAfter, if set, leaves out those last changed at this time or earlier.
	UpdatedAfter time.Time
	// Status, if set, leaves out those of another.
	Status Status
}

// Page is a part of the walk.
type Page struct {
	Employees []Employee
	// Next is where the walk goes on; 0 when this was the last page.
	Next int64
}
