// Package employees reads the source of truth, employee-svc, over gRPC.
package employees

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/bank-svc/internal/reconcile"
	employeev1 "hirewire.dev/proto/employee/v1"
)

// pageSizes are tried in turn while a page is larger than a message may be.
var pageSizes = [...]int32{500, 100, 20}

// Client reads employees.
type Client struct {
	rpc employeev1.EmployeeServiceClient
}

var _ reconcile.Source = (*Client)(nil)

// New makes a Client.
func New(rpc employeev1.EmployeeServiceClient) *Client { return &Client{rpc: rpc} }

// Employee reads one employee, as it is now.
//
// Errors: account.ErrUnknownEmployee.
func (c *Client) Employee(ctx context.Context, id string) (account.Employee, error) {
	e, err := c.rpc.GetEmployee(ctx, &employeev1.GetEmployeeRequest{Id: id})
	if status.Code(err) == codes.NotFound {
		return account.Employee{}, account.ErrUnknownEmployee
	}
	if err != nil {
		return account.Employee{}, reason(err)
	}
	if e.GetId() != id {
		return account.Employee{}, errors.New("employee-svc answered with another employee")
	}
	return fromProto(e)
}

// Page implements reconcile.Source.
func (c *Client) Page(ctx context.Context, token string) (reconcile.Page, error) {
	var res *employeev1.ListEmployeesResponse
	var err error
	for _, size := range pageSizes {
		res, err = c.rpc.ListEmployees(ctx, &employeev1.ListEmployeesRequest{PageSize: size, PageToken: token})
		if status.Code(err) != codes.ResourceExhausted {
			break
		}
	}
	if err != nil {
		return reconcile.Page{}, reason(err)
	}
	page := reconcile.Page{Employees: make([]account.Employee, len(res.GetEmployees())), Next: res.GetNextPageToken()}
	for i, e := range res.GetEmployees() {
		if page.Employees[i], err = fromProto(e); err != nil {
			return reconcile.Page{}, err
		}
	}
	if page.Next == token && token != "" {
		return reconcile.Page{}, errors.New("employee-svc gave the same page token again")
	}
	return page, nil
}

// reason is what an operator is shown: the code and the server's message, which holds nothing personal.
func reason(err error) error {
	st := status.Convert(err)
	return fmt.Errorf("employee-svc: %s: %s", st.Code(), st.Message())
}

func fromProto(e *employeev1.Employee) (account.Employee, error) {
	out := account.Employee{
		ID:         e.GetId(),
		HolderName: account.HolderName(e.GetGivenName(), e.GetFamilyName()),
		Currency:   e.GetCurrency(),
		Version:    int64(e.GetVersion()),
	}
	switch e.GetStatus() {
	case employeev1.Employee_ACTIVE:
	case employeev1.Employee_TERMINATED:
		out.Terminated = true
	default:
		return account.Employee{}, fmt.Errorf("employee-svc: employee %s has the status %s", e.GetId(), e.GetStatus())
	}
	if out.ID == "" || out.Version < 1 || out.HolderName == "" || out.Currency == "" {
		return account.Employee{}, fmt.Errorf("employee-svc: employee %s is incomplete", e.GetId())
	}
	return out, nil
}
