package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/platform/groupcommit"
	"hirewire.dev/platform/sqldb"
)

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want codes.Code
		text string
	}{
		{employee.ErrNotFound, codes.NotFound, "employee not found"},
		{&itemError{err: employee.ErrNumberTaken}, codes.AlreadyExists, "employee.employee_number: another employee has it"},
		{&itemError{path: "requests[3].", err: employee.ErrEmailTaken}, codes.AlreadyExists, "requests[3].employee.email: another employee has it"},
		{&itemError{path: "requests[3].", err: employee.ErrRequestReused}, codes.AlreadyExists, "requests[3].request_id: it was used with other content"},
		{employee.ErrTerminated, codes.FailedPrecondition, "the employment is terminated"},
		{employee.ErrVersionConflict, codes.Aborted, "the employee has another version: read it again"},
		{&itemError{err: employee.InvalidErrors{{Field: "email", Reason: "why"}}}, codes.InvalidArgument, "employee.email: why"},
		{&itemError{err: employee.InvalidErrors{{Field: "update_mask", Reason: "why"}}}, codes.InvalidArgument, "update_mask: why"},
		{groupcommit.ErrBusy, codes.ResourceExhausted, "too many calls are waiting"},
		{groupcommit.ErrStopped, codes.Unavailable, "the service is stopping"},
		{&sqldb.AmbiguousError{Err: errors.New("secret")}, codes.Unavailable, "whether it was stored is not known: repeat the call, a create with the same request_id"},
		{fmt.Errorf("%w: %w", employee.ErrUnavailable, context.DeadlineExceeded), codes.Unavailable, "whether it was stored is not known: repeat the call, a create with the same request_id"},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("store: %w", tt.err)} {
			st := Errors(err)
			if st.Code() != tt.want || st.Message() != tt.text {
				t.Errorf("%v: %v %q, want %v %q", err, st.Code(), st.Message(), tt.want, tt.text)
			}
		}
	}
	if st := Errors(errors.New("anything else")); st != nil {
		t.Errorf("an unknown error: %v", st)
	}
}
