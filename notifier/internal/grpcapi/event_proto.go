package grpcapi

import (
	"fmt"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/notifier/internal/event"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

func eventToProto(e *event.Event) (*notifierv1.Event, error) {
	out := &notifierv1.Event{
		Id: e.ID, Type: e.Type, Timestamp: timestamppb.New(e.OccurredAt), Traceparent: e.Traceparent,
		EmployeeId: e.EmployeeID, Version: int32(e.Version),
		ReceivedAt: timestamppb.New(e.ReceivedAt), Erased: e.Payload == nil,
	}
	if e.Payload == nil {
		return out, nil
	}
	var err error
	if out.Data, err = structpb.NewStruct(e.Data()); err != nil {
		return nil, fmt.Errorf("read the data of event %s: %w", e.ID, err)
	}
	return out, nil
}
