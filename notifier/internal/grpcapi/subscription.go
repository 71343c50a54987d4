package grpcapi

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/rpc"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// Tester sends test events.
type Tester interface {
	// SendTest sends a webhook.test event to the subscription alone, and answers with its delivery.
	SendTest(ctx context.Context, subscriptionID string) (delivery.Delivery, error)
}

// Subscriptions is the SubscriptionService.
type Subscriptions struct {
	notifierv1.UnimplementedSubscriptionServiceServer
	service *subscription.Service
	tester  Tester
}

// NewSubscriptions makes the service.
func NewSubscriptions(s *subscription.Service, t Tester) *Subscriptions {
	return &Subscriptions{service: s, tester: t}
}

// CreateSubscription implements notifierv1.SubscriptionServiceServer.
func (s *Subscriptions) CreateSubscription(ctx context.Context, req *notifierv1.CreateSubscriptionRequest) (*notifierv1.Subscription, error) {
	in := req.GetSubscription()
	since, err := parseStartFrom(in.GetStartFrom())
	if err != nil {
		return nil, inField("subscription", err)
	}
	draft := subscription.Draft{Secret: in.GetSecret(), Since: since, RequestID: req.GetRequestId()}
	for _, f := range fields {
		if f.set == nil {
			continue
		}
		if err := f.set(&draft.Subscription, in); err != nil {
			return nil, inField("subscription", err)
		}
	}
	if draft.Signature, err = enum("signature", protoToSignature, in.GetSignature()); err != nil {
		return nil, inField("subscription", err)
	}
	shown, err := s.service.Create(ctx, caller(ctx), draft)
	if err != nil {
		return nil, inField("subscription", err)
	}
	return shownToProto(shown), nil
}

// parseStartFrom reads NOW, EARLIEST or a time.
func parseStartFrom(text string) (*subscription.Since, error) {
	switch text {
	case "", "NOW":
		return nil, nil
	case "EARLIEST":
		return &subscription.Since{}, nil
	}
	t, err := rpc.ParseTime(text)
	if err != nil || t.Year() < 2000 {
		return nil, invalidField("start_from", "must be NOW, EARLIEST or a time such as 2026-11-20T09:00:00Z")
	}
	return &subscription.Since{Time: t.UTC().Truncate(time.Microsecond)}, nil
}

// GetSubscription implements notifierv1.SubscriptionServiceServer.
func (s *Subscriptions) GetSubscription(ctx context.Context, req *notifierv1.GetSubscriptionRequest) (*notifierv1.Subscription, error) {
	r, err := s.service.Get(ctx, caller(ctx), req.GetId())
	if err != nil {
		return nil, err
	}
	return subscriptionToProto(r.Subscription), nil
}

// ListSubscriptions implements notifierv1.SubscriptionServiceServer.
func (s *Subscriptions) ListSubscriptions(ctx context.Context, req *notifierv1.ListSubscriptionsRequest) (*notifierv1.ListSubscriptionsResponse, error) {
	asked := newQuestion("subscriptions", req.GetStatus().String(), req.GetName(), req.GetOwner(), req.GetLabel())
	after, err := asked.parse(req.GetPageToken(), func(at string) bool { return id.Valid("sub", at) })
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	q := subscription.Query{Status: protoToStatus[req.GetStatus()], Name: req.GetName(), After: after, Limit: size + 1}
	if owner := req.GetOwner(); owner != "" {
		q.Owner = &owner
	}
	key, value, valued := strings.Cut(req.GetLabel(), "=")
	if valued && key == "" {
		return nil, invalidArgument("label", "must be a key, or a key, \"=\" and a value")
	}
	if q.LabelKey = key; valued {
		q.LabelValue = &value
	}
	list, err := s.service.List(ctx, caller(ctx), q)
	if err != nil {
		return nil, err
	}
	subscriptions, next, err := page(asked, list, size, func(s subscription.Subscription) string { return s.ID }, always(subscriptionToProto))
	return &notifierv1.ListSubscriptionsResponse{Subscriptions: subscriptions, NextPageToken: next}, err
}

// UpdateSubscription implements notifierv1.SubscriptionServiceServer.
func (s *Subscriptions) UpdateSubscription(ctx context.Context, req *notifierv1.UpdateSubscriptionRequest) (*notifierv1.Subscription, error) {
	in := req.GetSubscription()
	if !id.Valid("sub", in.GetId()) {
		return nil, invalidArgument("subscription.id", "must be sub_ and a ULID")
	}
	changes, err := maskedFields(in, req.GetUpdateMask())
	if err != nil {
		return nil, err
	}
	r, err := s.service.Update(ctx, caller(ctx), in.GetId(), in.GetEtag(), func(s *subscription.Subscription) error {
		for _, f := range changes {
			if f.fixed != nil && f.fixed(*s, in) {
				return invalidField(f.name, f.why)
			}
			if f.set != nil {
				if err := f.set(s, in); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, inField("subscription", err)
	}
	return subscriptionToProto(r.Subscription), nil
}

// DeleteSubscription implements notifierv1.SubscriptionServiceServer.
func (s *Subscriptions) DeleteSubscription(ctx context.Context, req *notifierv1.DeleteSubscriptionRequest) (*emptypb.Empty, error) {
	if err := s.service.Delete(ctx, caller(ctx), req.GetId()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// VerifySubscription implements notifierv1.SubscriptionServiceServer.
func (s *Subscriptions) VerifySubscription(ctx context.Context, req *notifierv1.VerifySubscriptionRequest) (*notifierv1.Subscription, error) {
	return changed(s.service.Verify(ctx, caller(ctx), req.GetId()))
}

// PauseSubscription implements notifierv1.SubscriptionServiceServer.
func (s *Subscriptions) PauseSubscription(ctx context.Context, req *notifierv1.PauseSubscriptionRequest) (*notifierv1.Subscription, error) {
	return changed(s.service.Pause(ctx, caller(ctx), req.GetId()))
}

// ResumeSubscription implements notifierv1.SubscriptionServiceServer.
func (s *Subscriptions) ResumeSubscription(ctx context.Context, req *notifierv1.ResumeSubscriptionRequest) (*notifierv1.Subscription, error) {
	return changed(s.service.Resume(ctx, caller(ctx), req.GetId()))
}

func changed(r subscription.Record, err error) (*notifierv1.Subscription, error) {
	if err != nil {
		return nil, err
	}
	return subscriptionToProto(r.Subscription), nil
}

// defaultOverlap is how long an old secret signs too when the caller does not say.
const defaultOverlap = 24 * time.Hour

// RotateSecret implements notifierv1.SubscriptionServiceServer.
func (s *Subscriptions) RotateSecret(ctx context.Context, req *notifierv1.RotateSecretRequest) (*notifierv1.Subscription, error) {
	overlap := defaultOverlap
	if req.GetOverlap() != nil {
		overlap = req.GetOverlap().AsDuration()
	}
	shown, err := s.service.Rotate(ctx, caller(ctx), req.GetId(), subscription.Rotation{
		Secret: req.GetSecret(), Overlap: overlap, RequestID: req.GetRequestId(),
	})
	if err != nil {
		return nil, err
	}
	return shownToProto(shown), nil
}

// SendTestEvent implements notifierv1.SubscriptionServiceServer.
func (s *Subscriptions) SendTestEvent(ctx context.Context, req *notifierv1.SendTestEventRequest) (*notifierv1.Delivery, error) {
	r, err := s.service.Get(ctx, caller(ctx), req.GetId())
	if err != nil {
		return nil, err
	}
	d, err := s.tester.SendTest(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return deliveryToProto(d), nil
}

// inField says of which field of the request the domain speaks.
func inField(name string, err error) error {
	if e, ok := errors.AsType[*subscription.InvalidError](err); ok {
		named := &subscription.InvalidError{Violations: make([]subscription.Violation, len(e.Violations))}
		for i, v := range e.Violations {
			named.Violations[i] = subscription.Violation{Field: name + "." + v.Field, Reason: v.Reason}
		}
		return named
	}
	if e, ok := errors.AsType[*access.InvalidError](err); ok {
		return &access.InvalidError{Field: name + "." + e.Field, Reason: e.Reason}
	}
	return err
}

// invalidField is a field that cannot even be put into the domain's words.
func invalidField(name, reason string) error {
	return &subscription.InvalidError{Violations: []subscription.Violation{{Field: name, Reason: reason}}}
}
