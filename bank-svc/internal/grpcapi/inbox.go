package grpcapi

import (
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/platform/rpc"
	bankv1 "hirewire.dev/proto/bank/v1"
	"hirewire.dev/webhook/inbox"
)

// Inbox reads what was received, and makes it due again.
type Inbox interface {
	// List reads events, newest first, from a cursor on, and gives the cursor of the next page. Errors: inbox.ErrBadCursor.
	List(ctx context.Context, f inbox.Filter, cursor string, limit int) ([]inbox.Record, string, error)
	// Get reads one. Errors: inbox.ErrNotFound.
	Get(ctx context.Context, id string) (inbox.Record, error)
	// Reprocess makes one due again. Errors: inbox.ErrNotFound.
	Reprocess(ctx context.Context, id string) error
	// ReprocessAll makes all due again that the filter chooses, and counts them.
	ReprocessAll(ctx context.Context, f inbox.Filter) (int64, error)
}

// ListInboxEvents implements bankv1.BankServiceServer.
func (s *Service) ListInboxEvents(ctx context.Context, req *bankv1.ListInboxEventsRequest) (*bankv1.ListInboxEventsResponse, error) {
	list := newListing("inbox", req.GetPageSize(), req.GetStatus().String(), req.GetEmployeeId(), req.GetEventType())
	cursor, err := list.begin(req.GetPageToken(), func(at string) bool { return at != "" })
	if err != nil {
		return nil, err
	}
	records, next, err := s.inbox.List(ctx, inboxFilter(req.GetStatus(), req.GetEmployeeId(), req.GetEventType()), cursor, list.size)
	if errors.Is(err, inbox.ErrBadCursor) {
		return nil, errPageToken
	}
	if err != nil {
		return nil, err
	}
	res := &bankv1.ListInboxEventsResponse{InboxEvents: make([]*bankv1.InboxEvent, len(records))}
	for i, r := range records {
		res.InboxEvents[i] = recordToProto(r)
	}
	if next != "" {
		res.NextPageToken = list.token(next)
	}
	return res, nil
}

// GetInboxEvent implements bankv1.BankServiceServer.
func (s *Service) GetInboxEvent(ctx context.Context, req *bankv1.GetInboxEventRequest) (*bankv1.InboxEvent, error) {
	r, err := s.inbox.Get(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return recordToProto(r), nil
}

// ReprocessInboxEvent implements bankv1.BankServiceServer.
func (s *Service) ReprocessInboxEvent(ctx context.Context, req *bankv1.ReprocessInboxEventRequest) (*bankv1.InboxEvent, error) {
	if err := s.inbox.Reprocess(ctx, req.GetId()); err != nil {
		return nil, err
	}
	return s.GetInboxEvent(ctx, &bankv1.GetInboxEventRequest{Id: req.GetId()})
}

// ReprocessInboxEvents implements bankv1.BankServiceServer.
func (s *Service) ReprocessInboxEvents(ctx context.Context, req *bankv1.ReprocessInboxEventsRequest) (*bankv1.ReprocessInboxEventsResponse, error) {
	if req.GetStatus() == bankv1.InboxEvent_STATUS_UNSPECIFIED {
		return nil, rpc.Invalid(rpc.Violation{Field: "status", Reason: "is required"}).Err()
	}
	n, err := s.inbox.ReprocessAll(ctx, inboxFilter(req.GetStatus(), req.GetEmployeeId(), req.GetEventType()))
	if err != nil {
		return nil, err
	}
	return &bankv1.ReprocessInboxEventsResponse{ReprocessedCount: count(n)}, nil
}

func inboxFilter(status bankv1.InboxEvent_Status, employeeID, eventType string) inbox.Filter {
	f := inbox.Filter{Key: employeeID, Type: eventType}
	if s, ok := protoToInbox[status]; ok {
		f.Statuses = []inbox.Status{s}
	}
	return f
}

var protoToInbox = map[bankv1.InboxEvent_Status]inbox.Status{
	bankv1.InboxEvent_PENDING:     inbox.StatusPending,
	bankv1.InboxEvent_PROCESSED:   inbox.StatusProcessed,
	bankv1.InboxEvent_FAILED:      inbox.StatusFailed,
	bankv1.InboxEvent_IGNORED:     inbox.StatusIgnored,
	bankv1.InboxEvent_QUARANTINED: inbox.StatusQuarantined,
}

var inboxToProto = func() map[inbox.Status]bankv1.InboxEvent_Status {
	m := make(map[inbox.Status]bankv1.InboxEvent_Status, len(protoToInbox))
	for p, s := range protoToInbox {
		m[s] = p
	}
	return m
}()

func recordToProto(r inbox.Record) *bankv1.InboxEvent {
	return &bankv1.InboxEvent{
		Id:              r.ID,
		EventType:       r.Type,
		EmployeeId:      r.Subject.Key,
		EmployeeVersion: int32(r.Subject.Version),
		Status:          inboxToProto[r.Status],
		ReceivedAt:      timestamppb.New(r.ReceivedAt),
		ProcessedAt:     timestamp(r.FinishedAt),
		DeliveryAttempt: int32(r.SenderAttempt),
		SignatureKind:   string(r.Kind),
		Attempts:        int32(r.Attempts),
		LastError:       r.LastError,
		NextAttemptAt:   timestamp(r.NextTry),
		AccountId:       r.Reference,
		Outcome:         r.Outcome,
	}
}
