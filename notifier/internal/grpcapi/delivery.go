package grpcapi

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/notifier/internal/listen"
	"hirewire.dev/notifier/internal/replay"
	"hirewire.dev/notifier/internal/watch"
	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// DeliveriesConfig is what the DeliveryService is made of. All fields are required.
type DeliveriesConfig struct {
	History   history.Store
	Replays   *replay.Service
	Watch     *watch.Hub
	Listen    *listen.Service
	Snapshots delivery.Snapshots
	// Now is the time by the database's clock.
	Now func() time.Time
	// Due is told of a subscription that has something to send at once.
	Due func(subscriptionID string)
}

// Deliveries is the DeliveryService.
type Deliveries struct {
	notifierv1.UnimplementedDeliveryServiceServer
	conf DeliveriesConfig
}

// NewDeliveries makes the service.
func NewDeliveries(conf DeliveriesConfig) *Deliveries { return &Deliveries{conf: conf} }

// owner is whose deliveries the caller sees; nil: everybody's.
func owner(by access.Caller) *string {
	if by.Owner == "" {
		return nil
	}
	return &by.Owner
}

// ListDeliveries implements notifierv1.DeliveryServiceServer.
func (s *Deliveries) ListDeliveries(ctx context.Context, req *notifierv1.ListDeliveriesRequest) (*notifierv1.ListDeliveriesResponse, error) {
	q := newQuestion("deliveries", req.GetSubscriptionId(), req.GetEventId(), req.GetEmployeeId(), req.GetStatus().String())
	before, err := q.parse(req.GetPageToken(), func(at string) bool { return id.Valid("dlv", at) })
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	list, err := s.conf.History.Deliveries(ctx, history.DeliveryQuery{
		Owner: owner(caller(ctx)), SubscriptionID: req.GetSubscriptionId(), EventID: req.GetEventId(), EmployeeID: req.GetEmployeeId(),
		Status: protoToDeliveryStatus[req.GetStatus()], Before: before, Limit: size + 1,
	})
	if err != nil {
		return nil, err
	}
	deliveries, next, err := page(q, list, size, func(d delivery.Delivery) string { return d.ID }, always(deliveryToProto))
	return &notifierv1.ListDeliveriesResponse{Deliveries: deliveries, NextPageToken: next}, err
}

// GetDelivery implements notifierv1.DeliveryServiceServer.
func (s *Deliveries) GetDelivery(ctx context.Context, req *notifierv1.GetDeliveryRequest) (*notifierv1.Delivery, error) {
	d, attempts, err := s.conf.History.Delivery(ctx, req.GetId(), owner(caller(ctx)))
	if err != nil {
		return nil, err
	}
	return withAttempts(d, attempts), nil
}

// RetryDelivery implements notifierv1.DeliveryServiceServer.
func (s *Deliveries) RetryDelivery(ctx context.Context, req *notifierv1.RetryDeliveryRequest) (*notifierv1.Delivery, error) {
	by := caller(ctx)
	d, err := s.conf.History.Retry(ctx, req.GetId(), owner(by), audit.Entry{
		ID: id.New("aud"), At: s.conf.Now(), Actor: by.Name, Action: "RetryDelivery", Resource: req.GetId(), RequestID: by.CallID,
	})
	if err != nil {
		return nil, err
	}
	s.conf.Due(d.SubscriptionID)
	return deliveryToProto(d), nil
}

// GetBalance implements notifierv1.DeliveryServiceServer.
func (s *Deliveries) GetBalance(ctx context.Context, req *notifierv1.GetBalanceRequest) (*notifierv1.Balance, error) {
	by := caller(ctx)
	if req.GetSubscriptionId() != "" {
		if err := s.conf.History.HasSubscription(ctx, req.GetSubscriptionId(), owner(by)); err != nil {
			return nil, err
		}
	}
	b, err := s.conf.History.Balance(ctx, req.GetSubscriptionId(), owner(by))
	if err != nil {
		return nil, err
	}
	return &notifierv1.Balance{
		SubscriptionId: req.GetSubscriptionId(), FannedOut: b.FannedOut, Delivered: b.Delivered, Pending: b.Pending, Dead: b.Dead, Cancelled: b.Cancelled,
	}, nil
}

func withAttempts(d delivery.Delivery, attempts []delivery.Attempt) *notifierv1.Delivery {
	out := deliveryToProto(d)
	for _, a := range attempts {
		out.Attempts = append(out.Attempts, attemptToProto(a))
	}
	return out
}

func attemptToProto(a delivery.Attempt) *notifierv1.Attempt {
	return &notifierv1.Attempt{
		Number: int32(a.Number), StartedAt: timestamppb.New(a.StartedAt), DurationMs: int32(a.Duration.Milliseconds()),
		StatusCode: int32(a.StatusCode), Outcome: string(a.Outcome), Error: a.Error, ResponseSnippet: a.Snippet,
	}
}
