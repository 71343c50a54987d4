package grpcapi

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/replay"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// CreateReplay implements notifierv1.DeliveryServiceServer.
func (s *Deliveries) CreateReplay(ctx context.Context, req *notifierv1.CreateReplayRequest) (*notifierv1.Replay, error) {
	r, err := protoToReplay(req.GetReplay())
	if err != nil {
		return nil, err
	}
	r, err = s.conf.Replays.Create(ctx, caller(ctx), r, req.GetRequestId())
	if err != nil {
		return nil, err
	}
	return replayToProto(r), nil
}

// GetReplay implements notifierv1.DeliveryServiceServer.
func (s *Deliveries) GetReplay(ctx context.Context, req *notifierv1.GetReplayRequest) (*notifierv1.Replay, error) {
	r, err := s.conf.Replays.Get(ctx, caller(ctx), req.GetId())
	if err != nil {
		return nil, err
	}
	return replayToProto(r), nil
}

// CancelReplay implements notifierv1.DeliveryServiceServer.
func (s *Deliveries) CancelReplay(ctx context.Context, req *notifierv1.CancelReplayRequest) (*notifierv1.Replay, error) {
	r, err := s.conf.Replays.Cancel(ctx, caller(ctx), req.GetId())
	if err != nil {
		return nil, err
	}
	return replayToProto(r), nil
}

var replayStatusToProto = map[replay.Status]notifierv1.Replay_Status{
	replay.Running: notifierv1.Replay_RUNNING, replay.Succeeded: notifierv1.Replay_SUCCEEDED,
	replay.Cancelled: notifierv1.Replay_CANCELLED, replay.Failed: notifierv1.Replay_FAILED,
}

func protoToReplay(in *notifierv1.Replay) (replay.Replay, error) {
	r := replay.Replay{
		SubscriptionID: in.GetSubscriptionId(), EventTypes: in.GetEventTypes(), DryRun: in.GetDryRun(), RatePerSec: int(in.GetRateLimitPerSecond()),
	}
	for _, s := range in.GetDeliveryStatuses() {
		status, ok := protoToDeliveryStatus[s]
		if !ok {
			status = delivery.Status(s.String()) // refused by its name
		}
		r.Statuses = append(r.Statuses, status)
	}
	for _, t := range []struct {
		field string
		in    *timestamppb.Timestamp
	}{{"replay.start_time", in.GetStartTime()}, {"replay.end_time", in.GetEndTime()}} {
		// The first moment of year 1 would count as not set.
		if t.in != nil && (t.in.CheckValid() != nil || t.in.AsTime().IsZero()) {
			return r, invalidArgument(t.field, "is out of range")
		}
	}
	if in.GetStartTime() != nil {
		r.Start = in.GetStartTime().AsTime()
	}
	if in.GetEndTime() != nil {
		r.End = in.GetEndTime().AsTime()
	}
	return r, nil
}

func replayToProto(r replay.Replay) *notifierv1.Replay {
	out := &notifierv1.Replay{
		Id: r.ID, SubscriptionId: r.SubscriptionID, EventTypes: r.EventTypes, DryRun: r.DryRun, RateLimitPerSecond: int32(r.RatePerSec),
		Status: replayStatusToProto[r.Status], TotalCount: r.Total, DoneCount: r.Done, Error: r.Error, CreatedAt: timestamppb.New(r.CreatedAt),
	}
	for _, s := range r.Statuses {
		out.DeliveryStatuses = append(out.DeliveryStatuses, deliveryStatusToProto[s])
	}
	if !r.Start.IsZero() {
		out.StartTime = timestamppb.New(r.Start)
	}
	if !r.End.IsZero() {
		out.EndTime = timestamppb.New(r.End)
	}
	if !r.FinishedAt.IsZero() {
		out.FinishedAt = timestamppb.New(r.FinishedAt)
	}
	return out
}
