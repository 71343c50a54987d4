package grpcapi

import (
	"google.golang.org/grpc"

	"hirewire.dev/notifier/internal/delivery"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// WatchDeliveries implements notifierv1.DeliveryServiceServer.
func (s *Deliveries) WatchDeliveries(req *notifierv1.WatchDeliveriesRequest, stream grpc.ServerStreamingServer[notifierv1.WatchDeliveriesResponse]) error {
	by := caller(stream.Context())
	w, err := s.conf.Watch.Watch(func(d delivery.Delivery, a delivery.Attempt) bool {
		switch {
		case req.GetSubscriptionId() != "" && d.SubscriptionID != req.GetSubscriptionId(),
			req.GetEmployeeId() != "" && d.EmployeeID != req.GetEmployeeId(),
			req.GetFailuresOnly() && a.Outcome == delivery.OutcomeDelivered:
			return false
		}
		if by.Owner == "" {
			return true
		}
		t := s.conf.Snapshots.Current().Targets[d.SubscriptionID]
		return t != nil && t.Owner == by.Owner
	})
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		seen, err := w.Next(stream.Context())
		if err != nil {
			return err
		}
		if err := stream.Send(&notifierv1.WatchDeliveriesResponse{
			Delivery: withAttempts(seen.Delivery, []delivery.Attempt{seen.Attempt}), MissedCount: seen.Missed,
		}); err != nil {
			return err
		}
	}
}
