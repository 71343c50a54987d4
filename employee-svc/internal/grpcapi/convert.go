package grpcapi

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/employee-svc/internal/employee"
	employeev1 "hirewire.dev/proto/employee/v1"
)

// fromProto takes what HR sets. The fields that are output only are not looked at (AIP-203).
func fromProto(e *employeev1.Employee) employee.Employee {
	return employee.Employee{
		Number:     e.GetEmployeeNumber(),
		GivenName:  e.GetGivenName(),
		FamilyName: e.GetFamilyName(),
		Email:      e.GetEmail(),
		JobTitle:   e.GetJobTitle(),
		Department: e.GetDepartment(),
		HireDate:   e.GetHireDate(),
		Country:    e.GetCountry(),
		Currency:   e.GetCurrency(),
	}
}

func toProto(e employee.Employee) *employeev1.Employee {
	return &employeev1.Employee{
		Id:             e.ID,
		EmployeeNumber: e.Number,
		GivenName:      e.GivenName,
		FamilyName:     e.FamilyName,
		Email:          e.Email,
		JobTitle:       e.JobTitle,
		Department:     e.Department,
		HireDate:       e.HireDate,
		Country:        e.Country,
		Currency:       e.Currency,
		Status:         statusToProto(e.Status),
		Version:        int32(e.Version),
		CreatedAt:      timestamppb.New(e.CreatedAt),
		UpdatedAt:      timestamppb.New(e.UpdatedAt),
	}
}

func statusToProto(s employee.Status) employeev1.Employee_Status {
	switch s {
	case employee.Active:
		return employeev1.Employee_ACTIVE
	case employee.Terminated:
		return employeev1.Employee_TERMINATED
	default:
		return employeev1.Employee_STATUS_UNSPECIFIED
	}
}

// statusFromProto is 0 for an unspecified status.
func statusFromProto(s employeev1.Employee_Status) employee.Status {
	switch s {
	case employeev1.Employee_ACTIVE:
		return employee.Active
	case employeev1.Employee_TERMINATED:
		return employee.Terminated
	default:
		return 0
	}
}
