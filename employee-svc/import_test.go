package employeesvc_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	employeev1 "hirewire.dev/proto/employee/v1"
)

func importRows(t *testing.T, s *service, rows ...*employeev1.ImportEmployeesRequest) *employeev1.ImportEmployeesResponse {
	t.Helper()
	stream, err := s.client.ImportEmployees(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if err := stream.Send(row); err != nil {
			t.Fatal(err)
		}
	}
	report, err := stream.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestImport(t *testing.T) {
	forEngines(t, func(t *testing.T, s *service, n *notifier) {
		var rows []*employeev1.ImportEmployeesRequest
		for i := range 1500 {
			e := person(i)
			switch i {
			case 500:
				e.Country = "ZZ"
			case 700:
				e.EmployeeNumber = "E-1" // of an earlier line
			case 900:
				e.Email = "ADA.2@example.com"
			}
			rows = append(rows, &employeev1.ImportEmployeesRequest{Employee: e, RequestId: fmt.Sprintf("file/%d", i), Line: int64(i + 2)})
		}
		rows[1100].RequestId = "a b"
		rows[1200].RequestId = "file/3"
		want := &employeev1.ImportEmployeesResponse{CreatedCount: 1495, FailedCount: 5}
		type rowError = employeev1.ImportEmployeesResponse_RowError
		bad := []*rowError{
			{Line: 502, Field: "country", Reason: "must be a country of ISO 3166-1 alpha-2, such as DE"},
			{Line: 702, Field: "employee_number", Reason: "another employee has it"},
			{Line: 902, Field: "email", Reason: "another employee has it"},
			{Line: 1102, Field: "request_id", Reason: "must have at most 128 printable ASCII characters, and no space"},
			{Line: 1202, Field: "request_id", Reason: "it was used with other content"},
		}
		check := func(got, want *employeev1.ImportEmployeesResponse) {
			t.Helper()
			if got.GetCreatedCount() != want.GetCreatedCount() || got.GetExistingCount() != want.GetExistingCount() || got.GetFailedCount() != want.GetFailedCount() {
				t.Errorf("got %v, want %v", got, want)
			}
			for _, b := range bad {
				found := false
				for _, e := range got.GetErrors() {
					found = found || proto.Equal(e, b)
				}
				if !found {
					t.Errorf("%v is not among %v", b, got.GetErrors())
				}
			}
		}
		check(importRows(t, s, rows...), want)
		want.CreatedCount, want.ExistingCount = 0, 1495
		check(importRows(t, s, rows...), want) // the same file again
		if got := s.rows(t); got != "1495 employees, 1495 requests" {
			t.Error(got)
		}
		waitFor(t, "the events", func() bool { return len(n.received()) == 1495 })
	})
}

func TestImportListsTheFirstThousand(t *testing.T) {
	s := startService(t, "sqlite:"+t.TempDir()+"/e.db", startNotifier(t, "").addr)
	var rows []*employeev1.ImportEmployeesRequest
	for i := range 1200 {
		rows = append(rows, &employeev1.ImportEmployeesRequest{Line: int64(i)})
	}
	report := importRows(t, s, rows...)
	if report.GetFailedCount() != 1200 || len(report.GetErrors()) != 1000 || report.GetErrors()[999].GetLine() != 999 {
		t.Errorf("%d failed, %d listed", report.GetFailedCount(), len(report.GetErrors()))
	}
}
