package grpcapi

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"hirewire.dev/notifier/internal/listen"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// openWithin is how long a client may take to say what it listens to.
const openWithin = 10 * time.Second

type listenStream = grpc.BidiStreamingServer[notifierv1.ListenRequest, notifierv1.ListenResponse]

// Listen implements notifierv1.DeliveryServiceServer.
func (s *Deliveries) Listen(stream listenStream) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	first, acks := receive(ctx, stream)
	open, err := opening(ctx, first)
	if err != nil {
		return err
	}
	session, err := s.conf.Listen.Open(ctx, listen.Opening{
		EventTypes: open.GetEventTypes(), Filter: open.GetFilter(), Name: open.GetName(), Secret: open.GetSecret(),
	})
	if err != nil {
		return err
	}
	defer session.Close()
	if err := stream.Send(&notifierv1.ListenResponse{Message: &notifierv1.ListenResponse_Opened_{
		Opened: &notifierv1.ListenResponse_Opened{SubscriptionId: session.SubscriptionID, Secret: session.Secret},
	}}); err != nil {
		return err
	}
	return session.Run(ctx, func(r listen.Request) error {
		return stream.Send(&notifierv1.ListenResponse{Message: &notifierv1.ListenResponse_Request_{
			Request: &notifierv1.ListenResponse_Request{DeliveryId: r.DeliveryID, Headers: r.Headers, Body: r.Body, Attempt: int32(r.Attempt)},
		}})
	}, acks)
}

// receive reads the stream until it ends; grpc ends it when the handler returns. acks is closed then. Whatever is no
// acknowledgement after the first message is passed over.
func receive(ctx context.Context, stream listenStream) (<-chan *notifierv1.ListenRequest, <-chan listen.Ack) {
	first, acks := make(chan *notifierv1.ListenRequest, 1), make(chan listen.Ack)
	go func() {
		defer close(acks)
		defer close(first)
		m, err := stream.Recv()
		if err != nil {
			return
		}
		first <- m
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			a := m.GetAck()
			if a == nil {
				continue
			}
			select {
			case acks <- listen.Ack{DeliveryID: a.GetDeliveryId(), StatusCode: int(a.GetStatusCode())}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return first, acks
}

func opening(ctx context.Context, first <-chan *notifierv1.ListenRequest) (*notifierv1.ListenRequest_Open, error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	select {
	case m := <-first:
		if open := m.GetOpen(); open != nil {
			return open, nil
		}
		return nil, invalidArgument("open", "must be the first message")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
