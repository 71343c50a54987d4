package grpcapi

import (
	"context"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/bank-svc/internal/reconcile"
	"hirewire.dev/platform/id"
	bankv1 "hirewire.dev/proto/bank/v1"
)

// CreateReconciliation implements bankv1.BankServiceServer.
func (s *Service) CreateReconciliation(ctx context.Context, req *bankv1.CreateReconciliationRequest) (*bankv1.Reconciliation, error) {
	r, err := s.reconciler.Request(ctx, req.GetReconciliation().GetDryRun(), req.GetRequestId())
	if err != nil {
		return nil, err
	}
	return reportToProto(r), nil
}

// GetReconciliation implements bankv1.BankServiceServer.
func (s *Service) GetReconciliation(ctx context.Context, req *bankv1.GetReconciliationRequest) (*bankv1.Reconciliation, error) {
	r, err := s.reports.Report(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return reportToProto(r), nil
}

// ListReconciliations implements bankv1.BankServiceServer.
func (s *Service) ListReconciliations(ctx context.Context, req *bankv1.ListReconciliationsRequest) (*bankv1.ListReconciliationsResponse, error) {
	list := newListing("reconciliations", req.GetPageSize())
	before, err := list.begin(req.GetPageToken(), func(at string) bool { return id.Valid("rec", at) })
	if err != nil {
		return nil, err
	}
	all, err := s.reports.Reports(ctx, before, list.limit())
	if err != nil {
		return nil, err
	}
	all, next := page(list, all, func(r reconcile.Report) string { return r.ID })
	res := &bankv1.ListReconciliationsResponse{NextPageToken: next, Reconciliations: make([]*bankv1.Reconciliation, len(all))}
	for i, r := range all {
		res.Reconciliations[i] = reportToProto(r)
	}
	return res, nil
}

// A reconciliation that waits for its turn is RUNNING without started_at.
var runToProto = map[reconcile.Status]bankv1.Reconciliation_Status{
	reconcile.Waiting:   bankv1.Reconciliation_RUNNING,
	reconcile.Running:   bankv1.Reconciliation_RUNNING,
	reconcile.Succeeded: bankv1.Reconciliation_SUCCEEDED,
	reconcile.Failed:    bankv1.Reconciliation_FAILED,
}

func reportToProto(r reconcile.Report) *bankv1.Reconciliation {
	return &bankv1.Reconciliation{
		Id:                 r.ID,
		Status:             runToProto[r.Status],
		DryRun:             r.DryRun,
		Trigger:            string(r.Trigger),
		EmployeesChecked:   count(r.EmployeesChecked),
		AccountsOpened:     count(r.AccountsOpened),
		AccountsUpdated:    count(r.AccountsUpdated),
		AccountsClosed:     count(r.AccountsClosed),
		AccountsOrphaned:   count(r.AccountsOrphaned),
		OrphanedAccountIds: r.OrphanedAccountIDs,
		Error:              r.Error,
		StartedAt:          timestamp(r.StartedAt),
		FinishedAt:         timestamp(r.FinishedAt),
	}
}

// count fits a count into 32 bits, which JSON shows as a number.
func count(n int64) int32 { return int32(min(n, math.MaxInt32)) }

// timestamp leaves out a time that is not there.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
