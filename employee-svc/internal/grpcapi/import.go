package grpcapi

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/employee-svc/internal/employee"
	employeev1 "hirewire.dev/proto/employee/v1"
)

const (
	// importChunk is how many rows are stored together; as many again wait in memory.
	importChunk     = 200
	maxRowErrors    = 1000
	maxRequestID    = 128
	reasonRequestID = "must have at most 128 printable ASCII characters, and no space"
)

// ImportEmployees implements the service. Rows are stored in their order, so that of two that exclude each other the first
// one wins.
func (s *Server) ImportEmployees(stream grpc.ClientStreamingServer[employeev1.ImportEmployeesRequest, employeev1.ImportEmployeesResponse]) error {
	select {
	case s.imports <- struct{}{}:
		defer func() { <-s.imports }()
	default:
		return status.Error(codes.ResourceExhausted, "too many imports are under way")
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	rows := make(chan *employeev1.ImportEmployeesRequest, importChunk)
	im := &importer{store: s.store, caller: callerOf(ctx), report: &employeev1.ImportEmployeesResponse{}}
	stored := make(chan error, 1)
	go func() {
		stored <- im.run(ctx, rows)
		cancel()
	}()
	received := receive(ctx, stream, rows)
	close(rows)
	if received != nil {
		cancel()
	}
	if err := <-stored; err != nil && received == nil {
		return err
	}
	if received != nil {
		return received
	}
	return stream.SendAndClose(im.report)
}

// receive passes the rows on until the stream or ctx ends. It returns nil at the end of the stream, and when ctx was ended
// by whoever stores the rows, who then has the error.
func receive(ctx context.Context, stream grpc.ClientStreamingServer[employeev1.ImportEmployeesRequest, employeev1.ImportEmployeesResponse], rows chan<- *employeev1.ImportEmployeesRequest) error {
	for {
		row, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case rows <- row:
		case <-ctx.Done():
			return stream.Context().Err()
		}
	}
}

// importer stores the rows of one import.
type importer struct {
	store  Store
	caller employee.Caller
	report *employeev1.ImportEmployeesResponse

	// The chunk that gathers:
	lines   []int64
	creates []employee.Create
}

// run stores what comes until rows is closed: at once when it is alone, together with what has come meanwhile when not.
func (im *importer) run(ctx context.Context, rows <-chan *employeev1.ImportEmployeesRequest) error {
	for row := range rows {
		im.add(row)
		for more := true; more && len(im.creates) < importChunk; {
			select {
			case next, ok := <-rows:
				if more = ok; ok {
					im.add(next)
				}
			default:
				more = false
			}
		}
		if err := im.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// add checks a row and puts it into the chunk.
func (im *importer) add(row *employeev1.ImportEmployeesRequest) {
	clean, err := fromProto(row.GetEmployee()).Clean()
	if invalid, ok := errors.AsType[*employee.InvalidError](err); ok {
		im.fail(row.GetLine(), invalid.Field, invalid.Reason)
		return
	}
	if !validRequestID(row.GetRequestId()) {
		im.fail(row.GetLine(), "request_id", reasonRequestID)
		return
	}
	im.lines = append(im.lines, row.GetLine())
	im.creates = append(im.creates, employee.Create{RequestID: row.GetRequestId(), Employee: clean})
}

func (im *importer) flush(ctx context.Context) error {
	if len(im.creates) == 0 {
		return nil
	}
	results, errs, err := im.store.CreateEach(ctx, im.caller, im.creates)
	if err != nil {
		return err
	}
	for i, err := range errs {
		switch {
		case errors.Is(err, employee.ErrNumberTaken):
			im.fail(im.lines[i], "employee_number", "another employee has it")
		case errors.Is(err, employee.ErrEmailTaken):
			im.fail(im.lines[i], "email", "another employee has it")
		case errors.Is(err, employee.ErrRequestReused):
			im.fail(im.lines[i], "request_id", "it was used with other content")
		case err != nil:
			return err
		case results[i].Existing:
			im.report.ExistingCount++
		default:
			im.report.CreatedCount++
		}
	}
	im.lines, im.creates = im.lines[:0], im.creates[:0]
	return nil
}

func (im *importer) fail(line int64, field, reason string) {
	im.report.FailedCount++
	if len(im.report.GetErrors()) < maxRowErrors {
		im.report.Errors = append(im.report.Errors, &employeev1.ImportEmployeesResponse_RowError{Line: line, Field: field, Reason: reason})
	}
}

// validRequestID is the rule of CreateEmployeeRequest.request_id.
func validRequestID(s string) bool {
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= maxRequestID
}
