package bench

import (
	"fmt"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// events are publish calls of one event each, encoded before the clock starts: the publishers are not what is measured.
type events struct {
	ids      []string
	requests [][]byte
}

func newEvents(n int) (*events, error) {
	e := &events{ids: make([]string, n), requests: make([][]byte, n)}
	for i := range n {
		eventID, employee := id.New("evt"), id.New("emp")
		data, err := structpb.NewStruct(map[string]any{"employee": map[string]any{
			"id": employee, "employee_number": fmt.Sprintf("B%08d", i), "given_name": "Guðrún", "family_name": "Þorsteinsdóttir",
			"email": fmt.Sprintf("b%08d@bench.example", i), "job_title": "Engineer", "department": "Research", "hire_date": "2026-01-05",
			"country": "DE", "currency": "EUR", "status": "ACTIVE", "version": 1,
			"created_at": "2026-11-20T09:00:00.123456Z", "updated_at": "2026-11-20T09:00:00.123456Z",
		}})
		if err != nil {
			return nil, err
		}
		request := &notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{
			{Id: eventID, Type: "employee.created", Timestamp: timestamppb.New(time.Now().Truncate(time.Microsecond)), Data: data},
		}}
		if e.requests[i], err = proto.Marshal(request); err != nil {
			return nil, err
		}
		e.ids[i] = eventID
	}
	return e, nil
}

// encoded is a gRPC codec for messages that are bytes already.
type encoded struct{}

func (encoded) Name() string { return "proto" }

func (encoded) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (encoded) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
