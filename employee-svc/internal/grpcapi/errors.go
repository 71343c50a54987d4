package grpcapi

import (
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/platform/groupcommit"
	"hirewire.dev/platform/rpc"
	"hirewire.dev/platform/sqldb"
)

// maxViolations bounds what is told about one request.
const maxViolations = 100

// itemError is an error about one create or update, whose fields are below a path.
type itemError struct {
	path string // such as "requests[3]."; empty for the request itself
	err  error
}

func (e *itemError) Error() string { return e.path + e.err.Error() }
func (e *itemError) Unwrap() error { return e.err }

// Errors is the table from the domain's errors to statuses; nil for others. No status repeats a value.
func Errors(err error) *status.Status {
	path := ""
	if item, ok := errors.AsType[*itemError](err); ok {
		path = item.path
	}
	if all := violations(path, err); all != nil {
		return rpc.Invalid(all...)
	}
	switch {
	case errors.Is(err, employee.ErrNotFound):
		return status.New(codes.NotFound, employee.ErrNotFound.Error())
	case errors.Is(err, employee.ErrNumberTaken):
		return taken(path+"employee.employee_number", "another employee has it")
	case errors.Is(err, employee.ErrEmailTaken):
		return taken(path+"employee.email", "another employee has it")
	case errors.Is(err, employee.ErrRequestReused):
		return taken(path+"request_id", "it was used with other content")
	case errors.Is(err, employee.ErrTerminated):
		return status.New(codes.FailedPrecondition, employee.ErrTerminated.Error())
	case errors.Is(err, employee.ErrVersionConflict):
		return status.New(codes.Aborted, "the employee has another version: read it again")
	case errors.Is(err, groupcommit.ErrBusy):
		return status.New(codes.ResourceExhausted, "too many calls are waiting")
	case errors.Is(err, sqldb.ErrAmbiguous), errors.Is(err, employee.ErrUnavailable):
		return rpc.Unavailable("whether it was stored is not known: repeat the call, a create with the same request_id", time.Second)
	case errors.Is(err, groupcommit.ErrStopped):
		return rpc.Unavailable("the service is stopping", time.Second)
	}
	return nil
}

// violations are those of an employee below the path; nil if err is something else.
func violations(path string, err error) []rpc.Violation {
	invalid, ok := errors.AsType[employee.InvalidErrors](err)
	if !ok {
		return nil
	}
	all := make([]rpc.Violation, len(invalid))
	for i, one := range invalid {
		field := path + "employee." + one.Field
		if one.Field == "update_mask" {
			field = one.Field
		}
		all[i] = rpc.Violation{Field: field, Reason: one.Reason}
	}
	return all
}

// taken is ALREADY_EXISTS with the field at fault.
func taken(field, reason string) *status.Status {
	st := status.New(codes.AlreadyExists, field+": "+reason)
	detailed, err := st.WithDetails(&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
		{Field: field, Description: reason},
	}})
	if err != nil { // a message of our own always packs
		return st
	}
	return detailed
}
