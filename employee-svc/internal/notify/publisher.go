package notify

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"hirewire.dev/employee-svc/internal/outbox"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// Publisher publishes over a gRPC connection to the notifier.
type Publisher struct{ conn grpc.ClientConnInterface }

var _ outbox.Publisher = Publisher{}

// NewPublisher makes a Publisher whose messages are what Encode makes.
func NewPublisher(conn grpc.ClientConnInterface) Publisher { return Publisher{conn} }

// Publish implements outbox.Publisher by EventService.PublishEvents.
func (p Publisher) Publish(ctx context.Context, batch []outbox.Message) error {
	var reply notifierv1.PublishEventsResponse
	err := p.conn.Invoke(ctx, notifierv1.EventService_PublishEvents_FullMethodName, requestOf(batch), &reply, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		return classify(err)
	}
	if n := len(reply.GetEventIds()); n != len(batch) {
		return fmt.Errorf("publish events: %d of %d acknowledged", n, len(batch))
	}
	return nil
}

// classify says what a status means for the batch. The text is the notifier's, which never repeats a value.
func classify(err error) error {
	st := status.Convert(err)
	if isEarly(st) {
		return fmt.Errorf("publish events: %w: %s", outbox.ErrEarly, clip(st.Message()))
	}
	switch st.Code() {
	case codes.InvalidArgument, codes.AlreadyExists, codes.FailedPrecondition, codes.OutOfRange:
		return fmt.Errorf("publish events: %w: %s: %s", outbox.ErrRefused, st.Code(), clip(st.Message()))
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return fmt.Errorf("publish events: %w: %s: %s", outbox.ErrBroken, st.Code(), clip(st.Message()))
	default:
		return fmt.Errorf("publish events: %s: %s", st.Code(), clip(st.Message()))
	}
}

// isEarly says whether the only thing wrong is the time of events: the notifier takes none that is ahead of its clock, and
// that passes.
func isEarly(st *status.Status) bool {
	early := false
	for _, detail := range st.Details() {
		bad, ok := detail.(*errdetails.BadRequest)
		if !ok {
			continue
		}
		for _, v := range bad.GetFieldViolations() {
			if !strings.HasSuffix(v.GetField(), "].timestamp") {
				return false
			}
			early = true
		}
	}
	return early && st.Code() == codes.InvalidArgument
}

func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// eventsField is the number of PublishEventsRequest.events.
const eventsField = 1

// rawRequest is a PublishEventsRequest in wire format.
type rawRequest []byte

func requestOf(batch []outbox.Message) rawRequest {
	size := 0
	for i := range batch {
		size += protowire.SizeTag(eventsField) + protowire.SizeBytes(len(batch[i].Body))
	}
	b := make(rawRequest, 0, size)
	for i := range batch {
		b = protowire.AppendTag(b, eventsField, protowire.BytesType)
		b = protowire.AppendBytes(b, batch[i].Body)
	}
	return b
}

// rawCodec is gRPC's codec for protobuf, except that a rawRequest goes out as it is.
type rawCodec struct{}

var protobuf = encoding.GetCodecV2("proto")

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if raw, ok := v.(rawRequest); ok {
		return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
	}
	return protobuf.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error { return protobuf.Unmarshal(data, v) }

// Name implements encoding.CodecV2.
func (rawCodec) Name() string { return "proto" }
