package grpcapi

import (
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/notifier/internal/ingest"
	"hirewire.dev/notifier/internal/listen"
	"hirewire.dev/notifier/internal/replay"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/notifier/internal/watch"
	"hirewire.dev/platform/rpc"
	"hirewire.dev/platform/sqldb"
)

// statuses is the table from the domain's errors to codes; the text of the error is what the caller reads.
var statuses = []struct {
	err  error
	code codes.Code
}{
	{subscription.ErrNotFound, codes.NotFound},
	{subscription.ErrStale, codes.Aborted},
	{access.ErrNotFound, codes.NotFound},
	{event.ErrNotFound, codes.NotFound},
	{history.ErrNotFound, codes.NotFound},
	{history.ErrErased, codes.FailedPrecondition},
	{history.ErrDeleted, codes.FailedPrecondition},
	{replay.ErrNotFound, codes.NotFound},
	{watch.ErrTooMany, codes.ResourceExhausted},
	{listen.ErrTooMany, codes.ResourceExhausted},
	{listen.ErrGone, codes.FailedPrecondition},
	{ingest.ErrBusy, codes.ResourceExhausted},
	{ingest.ErrUnsettled, codes.Unavailable},
	{ingest.ErrStopped, codes.Unavailable},
}

// faults are the domain's errors about one field of the request.
var faults = []struct {
	err   error
	code  codes.Code
	field string
}{
	{subscription.ErrNameTaken, codes.AlreadyExists, "subscription.name"},
	{subscription.ErrRequestReused, codes.AlreadyExists, "request_id"},
	{access.ErrNameTaken, codes.AlreadyExists, "api_key.name"},
	{access.ErrSecretTaken, codes.InvalidArgument, "api_key.secret"},
	{access.ErrRequestReused, codes.AlreadyExists, "request_id"},
	{replay.ErrRequestReused, codes.AlreadyExists, "request_id"},
}

// retryIn is what a caller is told to wait while the database is away.
const retryIn = time.Second

// Errors is the table from errors to statuses for the chain; nil for an error that is nobody's fault but ours.
func Errors(err error) *status.Status {
	if invalid, ok := errors.AsType[*subscription.InvalidError](err); ok {
		violations := make([]rpc.Violation, len(invalid.Violations))
		for i, v := range invalid.Violations {
			violations[i] = rpc.Violation{Field: v.Field, Reason: v.Reason}
		}
		return rpc.Invalid(violations...)
	}
	if invalid, ok := errors.AsType[*access.InvalidError](err); ok {
		return rpc.Invalid(rpc.Violation{Field: invalid.Field, Reason: invalid.Reason})
	}
	if invalid, ok := errors.AsType[*replay.InvalidError](err); ok {
		return rpc.Invalid(rpc.Violation{Field: invalid.Field, Reason: invalid.Reason})
	}
	if invalid, ok := errors.AsType[*listen.InvalidError](err); ok {
		return rpc.Invalid(rpc.Violation{Field: invalid.Field, Reason: invalid.Reason})
	}
	if failed, ok := errors.AsType[*subscription.ChallengeError](err); ok {
		return status.New(codes.FailedPrecondition, failed.Reason)
	}
	for _, f := range faults {
		if errors.Is(err, f.err) {
			return inOneField(f.code, f.field, f.err.Error())
		}
	}
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return status.New(s.code, s.err.Error())
		}
	}
	switch {
	case sqldb.IsFull(err):
		return status.New(codes.ResourceExhausted, "the database is full")
	case errors.Is(err, sqldb.ErrAmbiguous):
		return rpc.Unavailable("the database did not answer; the change may have been made", retryIn)
	case sqldb.IsUnavailable(err):
		return rpc.Unavailable("the database does not answer", retryIn)
	case sqldb.IsRetryable(err):
		return status.New(codes.Aborted, "too much is going on at once; try again")
	}
	return nil
}

func keyError(err error) error {
	if errors.Is(err, access.ErrUnknownKey) {
		return rpc.ErrUnknownKey
	}
	return err
}

// inOneField is a status with the field at fault.
func inOneField(code codes.Code, field, reason string) *status.Status {
	st := status.New(code, field+": "+reason)
	detailed, err := st.WithDetails(&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
		{Field: field, Description: reason},
	}})
	if err != nil { // a message of our own always packs
		return st
	}
	return detailed
}

// invalidArgument is a request that is wrong in one field.
func invalidArgument(field, reason string) error {
	return rpc.Invalid(rpc.Violation{Field: field, Reason: reason}).Err()
}
