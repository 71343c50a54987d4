package grpcapi

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/notifier/internal/delivery"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

var protoToDeliveryStatus = map[notifierv1.Delivery_Status]delivery.Status{
	notifierv1.Delivery_PENDING: delivery.Pending, notifierv1.Delivery_DELIVERED: delivery.Delivered,
	notifierv1.Delivery_DEAD: delivery.Dead, notifierv1.Delivery_CANCELLED: delivery.Cancelled,
}

var deliveryStatusToProto = inverse(protoToDeliveryStatus)

func deliveryToProto(d delivery.Delivery) *notifierv1.Delivery {
	out := &notifierv1.Delivery{
		Id: d.ID, EventId: d.EventID, EventType: d.EventType, SubscriptionId: d.SubscriptionID, EmployeeId: d.EmployeeID,
		Status: deliveryStatusToProto[d.Status], AttemptCount: int32(d.Attempts),
		CreatedAt: timestamppb.New(d.CreatedAt),
	}
	switch d.Status {
	case delivery.Pending:
		out.NextAttemptAt = timestamppb.New(d.DueAt)
	case delivery.Delivered:
		out.DeliveredAt = timestamppb.New(d.FinishedAt)
	case delivery.Dead, delivery.Cancelled:
	}
	return out
}
