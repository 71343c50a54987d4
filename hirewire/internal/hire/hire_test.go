package hire_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"google.golang.org/grpc"

	"hirewire.dev/hirewire/internal/hire"
	"hirewire.dev/hirewire/internal/people"
	employeev1 "hirewire.dev/proto/employee/v1"
)

// service refuses every line that can be divided by ten, and reports the refused ones backwards.
type service struct {
	employeev1.EmployeeServiceClient
}

func (s service) ImportEmployees(context.Context, ...grpc.CallOption) (grpc.ClientStreamingClient[employeev1.ImportEmployeesRequest, employeev1.ImportEmployeesResponse], error) {
	return &stream{}, nil
}

type stream struct {
	grpc.ClientStream

	response employeev1.ImportEmployeesResponse
}

func (s *stream) Send(request *employeev1.ImportEmployeesRequest) error {
	if request.GetLine()%10 != 0 {
		s.response.CreatedCount++
		return nil
	}
	s.response.FailedCount++
	refused := &employeev1.ImportEmployeesResponse_RowError{Line: request.GetLine(), Field: "email", Reason: "refused"}
	s.response.Errors = slices.Insert(s.response.Errors, 0, refused)
	return nil
}

func (s *stream) CloseAndRecv() (*employeev1.ImportEmployeesResponse, error) { return &s.response, nil }

func TestImportReportsBadRowsByLine(t *testing.T) {
	const rows = 1100 // three streams
	var want []int64
	for line := int64(2); line < rows+2; line++ {
		if line%10 == 0 || line%7 == 0 {
			want = append(want, line)
		}
	}
	result, err := hire.Import(t.Context(), service{}, func(yield func(people.Row) bool) {
		for line := 2; line < rows+2; line++ {
			row := people.Row{Line: line, Employee: &employeev1.Employee{}}
			if line%7 == 0 {
				row = people.Row{Line: line, Err: errors.New("bad")}
			}
			if !yield(row) {
				return
			}
		}
	}, func(hire.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, e := range result.Errors {
		got = append(got, e.Line)
	}
	if !slices.Equal(got, want) || result.Failed != int64(len(want)) || result.Created != rows-int64(len(want)) {
		t.Errorf("created %d, failed %d, lines %d; want lines %d", result.Created, result.Failed, got, want)
	}
}
