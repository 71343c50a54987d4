// Package grpcapi is hirewire.employee.v1.EmployeeService over a store of employees.
package grpcapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/rpc"
	"hirewire.dev/platform/telemetry"
	employeev1 "hirewire.dev/proto/employee/v1"
)

// Store keeps employees and tells of their changes: each change and its event are stored, both or neither, when a method
// returns nil. Errors are those of package employee, besides the store's own.
type Store interface {
	// Create stores one employee, or finds the one that the same request id made before.
	Create(ctx context.Context, caller employee.Caller, create employee.Create) (employee.Result, error)
	// CreateAll stores all or none; an error about one of them is an employee.ItemError.
	CreateAll(ctx context.Context, caller employee.Caller, creates []employee.Create) ([]employee.Result, error)
	// CreateEach stores what it can: the errors are those of each; err means that the outcome of all is unknown or failure.
	CreateEach(ctx context.Context, caller employee.Caller, creates []employee.Create) (results []employee.Result, errs []error, err error)
	// Get reads what was last committed.
	Get(ctx context.Context, employeeID string) (employee.Employee, error)
	// List reads a page of the walk in the order of commits.
	List(ctx context.Context, q employee.Query) (employee.Page, error)
	// Update stores what change makes of the employee; change may run more than once.
	Update(ctx context.Context, caller employee.Caller, employeeID string, change func(employee.Employee) (employee.Employee, error)) (employee.Employee, error)
}

// Server implements the service.
type Server struct {
	employeev1.UnimplementedEmployeeServiceServer

	store   Store
	imports chan struct{} // a place for each import under way
}

var _ employeev1.EmployeeServiceServer = (*Server)(nil)

// maxImports is how many imports may be under way.
const maxImports = 16

// New makes a Server.
func New(store Store) *Server {
	return &Server{store: store, imports: make(chan struct{}, maxImports)}
}

// The roles of keys.
const (
	Writer rpc.Role = "writer"
	Reader rpc.Role = "reader"
)

var (
	readers = rpc.Roles{Writer, Reader}
	writers = rpc.Roles{Writer}
)

// Policy says who may call what.
var Policy = rpc.Policy{
	employeev1.EmployeeService_CreateEmployee_FullMethodName:       writers,
	employeev1.EmployeeService_BatchCreateEmployees_FullMethodName: writers,
	employeev1.EmployeeService_GetEmployee_FullMethodName:          readers,
	employeev1.EmployeeService_ListEmployees_FullMethodName:        readers,
	employeev1.EmployeeService_UpdateEmployee_FullMethodName:       writers,
	employeev1.EmployeeService_TerminateEmployee_FullMethodName:    writers,
	employeev1.EmployeeService_ImportEmployees_FullMethodName:      writers,
}

// callerOf is who calls. A call without a trace gets one, so that what it causes can be followed.
func callerOf(ctx context.Context) employee.Caller {
	identity, _ := rpc.IdentityFrom(ctx)
	c := employee.Caller{Name: identity.Name, Traceparent: telemetry.Traceparent(ctx)}
	if c.Traceparent == "" {
		c.Traceparent = newTraceparent()
	}
	return c
}

// newTraceparent is a W3C trace context of version 00, not sampled.
func newTraceparent() string {
	var ids [24]byte
	_, _ = rand.Read(ids[:]) // never fails
	var text [55]byte
	copy(text[:], "00-")
	hex.Encode(text[3:], ids[:16])
	text[35] = '-'
	hex.Encode(text[36:], ids[16:])
	copy(text[52:], "-00")
	return string(text[:])
}

// GetEmployee implements the service.
func (s *Server) GetEmployee(ctx context.Context, req *employeev1.GetEmployeeRequest) (*employeev1.Employee, error) {
	if !id.Valid("emp", req.GetId()) {
		return nil, malformedID("id")
	}
	e, err := s.store.Get(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return toProto(e), nil
}

// UpdateEmployee implements the service.
func (s *Server) UpdateEmployee(ctx context.Context, req *employeev1.UpdateEmployeeRequest) (*employeev1.Employee, error) {
	from := req.GetEmployee()
	switch {
	case !id.Valid("emp", from.GetId()):
		return nil, malformedID("employee.id")
	case from.GetVersion() < 0:
		return nil, rpc.Invalid(rpc.Violation{Field: "employee.version", Reason: "must not be negative"}).Err()
	}
	content := fromProto(from)
	mask := req.GetUpdateMask().GetPaths()
	if len(mask) == 0 {
		mask = content.SetFields()
	}
	patch, err := employee.NewPatch(content, mask)
	if err != nil {
		return nil, &itemError{err: err}
	}
	e, err := s.store.Update(ctx, callerOf(ctx), from.GetId(), func(e employee.Employee) (employee.Employee, error) {
		switch {
		case from.GetVersion() != 0 && int64(from.GetVersion()) != e.Version:
			return e, employee.ErrVersionConflict
		case e.Status == employee.Terminated:
			return e, employee.ErrTerminated
		}
		return patch.Apply(e), nil
	})
	if err != nil {
		return nil, &itemError{err: err}
	}
	return toProto(e), nil
}

// TerminateEmployee implements the service.
func (s *Server) TerminateEmployee(ctx context.Context, req *employeev1.TerminateEmployeeRequest) (*employeev1.Employee, error) {
	if !id.Valid("emp", req.GetId()) {
		return nil, malformedID("id")
	}
	e, err := s.store.Update(ctx, callerOf(ctx), req.GetId(), func(e employee.Employee) (employee.Employee, error) {
		return e.Terminate(), nil
	})
	if err != nil {
		return nil, err
	}
	return toProto(e), nil
}

func malformedID(field string) error {
	return rpc.Invalid(rpc.Violation{Field: field, Reason: "must be emp_ and 26 characters of Crockford's base 32"}).Err()
}
