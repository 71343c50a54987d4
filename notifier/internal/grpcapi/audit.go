package grpcapi

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// AuditLog keeps entries.
type AuditLog interface {
	// AuditEntries are the entries that the query asks for, newest first.
	AuditEntries(ctx context.Context, q audit.Query) ([]audit.Entry, error)
}

// Audit is the AuditService.
type Audit struct {
	notifierv1.UnimplementedAuditServiceServer
	log AuditLog
}

// NewAudit makes the service.
func NewAudit(log AuditLog) *Audit { return &Audit{log: log} }

// ListAuditEntries implements notifierv1.AuditServiceServer.
func (s *Audit) ListAuditEntries(ctx context.Context, req *notifierv1.ListAuditEntriesRequest) (*notifierv1.ListAuditEntriesResponse, error) {
	q := newQuestion("audit", req.GetResource())
	before, err := q.parse(req.GetPageToken(), func(at string) bool { return id.Valid("aud", at) })
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	list, err := s.log.AuditEntries(ctx, audit.Query{Resource: req.GetResource(), Before: before, Limit: size + 1})
	if err != nil {
		return nil, err
	}
	entries, next, err := page(q, list, size, func(e audit.Entry) string { return e.ID }, auditEntryToProto)
	return &notifierv1.ListAuditEntriesResponse{AuditEntries: entries, NextPageToken: next}, err
}

func auditEntryToProto(e audit.Entry) (*notifierv1.AuditEntry, error) {
	out := &notifierv1.AuditEntry{
		Id: e.ID, At: timestamppb.New(e.At), Actor: e.Actor, Action: e.Action, Resource: e.Resource, RequestId: e.RequestID,
	}
	var err error
	if e.Before != nil {
		if out.Before, err = structpb.NewStruct(e.Before); err != nil {
			return nil, fmt.Errorf("audit entry %s: %w", e.ID, err)
		}
	}
	if e.After != nil {
		if out.After, err = structpb.NewStruct(e.After); err != nil {
			return nil, fmt.Errorf("audit entry %s: %w", e.ID, err)
		}
	}
	return out, nil
}
