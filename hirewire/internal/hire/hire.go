// Package hire adds employees through the public API of the employee service.
package hire

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"hirewire.dev/hirewire/internal/people"
	employeev1 "hirewire.dev/proto/employee/v1"
)

// Result counts what became of the rows.
type Result struct {
	Created  int64
	Existing int64 // stored by an earlier import of the same rows
	Failed   int64
	// Errors are the failures that were reported one by one, by line; Failed may be more.
	Errors []RowError
}

// RowError is a row that was not stored.
type RowError struct {
	Line   int64
	Field  string
	Reason string
}

// chunk is how many rows go in one stream: enough for speed, and little to send again when a stream breaks.
const chunk = 500

// patience is how long a service that is not there is waited for, for each chunk.
const patience = time.Minute

// Import sends the rows, and after each chunk calls progress with the result so far. A row is stored once however often it
// is sent, since its request id is made from its content; so a stream that breaks is sent again.
func Import(ctx context.Context, client employeev1.EmployeeServiceClient, rows iter.Seq[people.Row], progress func(Result)) (Result, error) {
	var result Result
	var pending []*employeev1.ImportEmployeesRequest
	flush := func() error {
		if len(pending) == 0 {
			return nil
		}
		response, err := sendPatiently(ctx, client, pending)
		if err != nil {
			return err
		}
		pending = pending[:0]
		result.Created += response.GetCreatedCount()
		result.Existing += response.GetExistingCount()
		result.Failed += response.GetFailedCount()
		for _, e := range response.GetErrors() {
			result.Errors = append(result.Errors, RowError{Line: e.GetLine(), Field: e.GetField(), Reason: e.GetReason()})
		}
		progress(result)
		return nil
	}
	for row := range rows {
		if row.Err != nil && row.Line == 0 {
			return result, fmt.Errorf("read the rows: %w", row.Err)
		}
		if row.Err != nil {
			result.Failed++
			result.Errors = append(result.Errors, RowError{Line: int64(row.Line), Reason: row.Err.Error()})
			continue
		}
		id, err := requestID(row.Employee)
		if err != nil {
			return result, err
		}
		pending = append(pending, &employeev1.ImportEmployeesRequest{Employee: row.Employee, RequestId: id, Line: int64(row.Line)})
		if len(pending) == chunk {
			if err := flush(); err != nil {
				return result, err
			}
		}
	}
	err := flush()
	slices.SortStableFunc(result.Errors, func(a, b RowError) int { return cmp.Compare(a.Line, b.Line) })
	return result, err
}

// requestID is the same for the same row in every import.
func requestID(e *employeev1.Employee) (string, error) {
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("make a request id: %w", err)
	}
	sum := sha256.Sum256(content)
	return "import-" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]), nil
}

func sendPatiently(ctx context.Context, client employeev1.EmployeeServiceClient, requests []*employeev1.ImportEmployeesRequest) (*employeev1.ImportEmployeesResponse, error) {
	end := time.Now().Add(patience)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		response, err := send(ctx, client, requests)
		if code := status.Code(err); err == nil || (code != codes.Unavailable && code != codes.DeadlineExceeded && code != codes.ResourceExhausted) || time.Now().After(end) {
			return response, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func send(ctx context.Context, client employeev1.EmployeeServiceClient, requests []*employeev1.ImportEmployeesRequest) (*employeev1.ImportEmployeesResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stream, err := client.ImportEmployees(ctx)
	if err != nil {
		return nil, err
	}
	for _, request := range requests {
		if err := stream.Send(request); errors.Is(err, io.EOF) {
			break // the answer tells why
		} else if err != nil {
			return nil, err
		}
	}
	return stream.CloseAndRecv()
}
