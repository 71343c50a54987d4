package employees

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/bank-svc/internal/account"
	employeev1 "hirewire.dev/proto/employee/v1"
)

type stub struct {
	employeev1.EmployeeServiceClient
	get  func(*employeev1.GetEmployeeRequest) (*employeev1.Employee, error)
	list func(*employeev1.ListEmployeesRequest) (*employeev1.ListEmployeesResponse, error)
}

func (s stub) GetEmployee(_ context.Context, r *employeev1.GetEmployeeRequest, _ ...grpc.CallOption) (*employeev1.Employee, error) {
	return s.get(r)
}

func (s stub) ListEmployees(_ context.Context, r *employeev1.ListEmployeesRequest, _ ...grpc.CallOption) (*employeev1.ListEmployeesResponse, error) {
	return s.list(r)
}

func ada() *employeev1.Employee {
	return &employeev1.Employee{Id: "emp_1", GivenName: "Ada", FamilyName: "Lovelace", Currency: "GBP", Status: employeev1.Employee_TERMINATED, Version: 3}
}

var wantAda = account.Employee{ID: "emp_1", HolderName: "Ada Lovelace", Currency: "GBP", Terminated: true, Version: 3}

func TestEmployee(t *testing.T) {
	broken := func(change func(*employeev1.Employee)) *employeev1.Employee { e := ada(); change(e); return e }
	for _, tc := range []struct {
		name   string
		answer *employeev1.Employee
		err    error
		ok     bool
		is     error
	}{
		{name: "there", answer: ada(), ok: true},
		{name: "unknown", err: status.Error(codes.NotFound, "no"), is: account.ErrUnknownEmployee},
		{name: "down", err: status.Error(codes.Unavailable, "no")},
		{name: "another", answer: broken(func(e *employeev1.Employee) { e.Id = "emp_2" })},
		{name: "no status", answer: broken(func(e *employeev1.Employee) { e.Status = 0 })},
		{name: "no version", answer: broken(func(e *employeev1.Employee) { e.Version = 0 })},
		{name: "no name", answer: broken(func(e *employeev1.Employee) { e.GivenName, e.FamilyName = "", "" })},
		{name: "no currency", answer: broken(func(e *employeev1.Employee) { e.Currency = "" })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := New(stub{get: func(*employeev1.GetEmployeeRequest) (*employeev1.Employee, error) { return tc.answer, tc.err }})
			got, err := c.Employee(t.Context(), "emp_1")
			if tc.ok != (err == nil) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Fatal(err)
			}
			if tc.ok && got != wantAda {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestPageAsksForLessWhereAPageIsTooLarge(t *testing.T) {
	var sizes []int32
	c := New(stub{list: func(r *employeev1.ListEmployeesRequest) (*employeev1.ListEmployeesResponse, error) {
		sizes = append(sizes, r.PageSize)
		if r.PageSize > 100 {
			return nil, status.Error(codes.ResourceExhausted, "larger than max")
		}
		return &employeev1.ListEmployeesResponse{Employees: []*employeev1.Employee{ada()}, NextPageToken: r.PageToken + "+"}, nil
	}})
	page, err := c.Page(t.Context(), "x")
	if err != nil || page.Next != "x+" || len(page.Employees) != 1 || page.Employees[0] != wantAda {
		t.Errorf("%+v, %v", page, err)
	}
	if diff := cmp.Diff([]int32{500, 100}, sizes); diff != "" {
		t.Error(diff)
	}
}

func TestPageRefusesAWalkThatStandsStill(t *testing.T) {
	c := New(stub{list: func(r *employeev1.ListEmployeesRequest) (*employeev1.ListEmployeesResponse, error) {
		return &employeev1.ListEmployeesResponse{NextPageToken: "x"}, nil
	}})
	if _, err := c.Page(t.Context(), "x"); err == nil {
		t.Error("taken")
	}
}
