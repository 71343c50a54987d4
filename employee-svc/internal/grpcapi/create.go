package grpcapi

import (
	"context"
	"errors"
	"fmt"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/platform/rpc"
	employeev1 "hirewire.dev/proto/employee/v1"
)

// CreateEmployee implements the service.
func (s *Server) CreateEmployee(ctx context.Context, req *employeev1.CreateEmployeeRequest) (*employeev1.Employee, error) {
	create, err := createFromProto(req)
	if err != nil {
		return nil, &itemError{err: err}
	}
	result, err := s.store.Create(ctx, callerOf(ctx), create)
	if err != nil {
		return nil, &itemError{err: err}
	}
	return toProto(result.Employee), nil
}

// BatchCreateEmployees implements the service.
func (s *Server) BatchCreateEmployees(ctx context.Context, req *employeev1.BatchCreateEmployeesRequest) (*employeev1.BatchCreateEmployeesResponse, error) {
	creates := make([]employee.Create, len(req.GetRequests()))
	var broken []rpc.Violation
	for i, one := range req.GetRequests() {
		var err error
		if creates[i], err = createFromProto(one); err != nil {
			broken = append(broken, violations(itemPath(i), err)...)
		}
	}
	if len(broken) > 0 {
		return nil, rpc.Invalid(broken[:min(len(broken), maxViolations)]...).Err()
	}
	results, err := s.store.CreateAll(ctx, callerOf(ctx), creates)
	if item, ok := errors.AsType[*employee.ItemError](err); ok {
		return nil, &itemError{path: itemPath(item.Index), err: item.Err}
	}
	if err != nil {
		return nil, err
	}
	reply := &employeev1.BatchCreateEmployeesResponse{Employees: make([]*employeev1.Employee, len(results))}
	for i := range results {
		reply.Employees[i] = toProto(results[i].Employee)
	}
	return reply, nil
}

func itemPath(i int) string { return fmt.Sprintf("requests[%d].", i) }

// createFromProto is a request that the rules in the .proto have passed. The error is employee.InvalidErrors.
func createFromProto(req *employeev1.CreateEmployeeRequest) (employee.Create, error) {
	clean, err := fromProto(req.GetEmployee()).Clean()
	return employee.Create{RequestID: req.GetRequestId(), Employee: clean}, err
}
