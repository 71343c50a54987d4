package grpcapi_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/grpcapi"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

type nowhere struct{}

func (nowhere) Publish(context.Context, []event.Event) error { return nil }

// BenchmarkPublishEvents is what a publish costs before anything is stored: reading the message, checking the event, and
// writing the bytes that are signed and sent.
func BenchmarkPublishEvents(b *testing.B) {
	s := grpcapi.NewEvents(grpcapi.EventsConfig{Publisher: nowhere{}, Now: time.Now, Retention: 720 * time.Hour})
	data, err := structpb.NewStruct(map[string]any{"employee": map[string]any{
		"id": "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", "employee_number": "E-1", "given_name": "Zoë", "family_name": "李", "email": "zoe@example.test", "job_title": "Engineer",
		"department": "R&D", "hire_date": "2026-11-20", "country": "DE", "currency": "EUR", "status": "ACTIVE", "version": 1,
		"created_at": "2026-11-20T09:00:00.123456Z", "updated_at": "2026-11-20T09:00:00Z",
	}})
	if err != nil {
		b.Fatal(err)
	}
	wire, err := proto.Marshal(&notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{{
		Id: "evt_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", Type: "employee.created", Timestamp: timestamppb.Now(), Data: data,
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(wire, &notifierv1.PublishEventsRequest{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("check and write", func(b *testing.B) {
		var req notifierv1.PublishEventsRequest
		if err := proto.Unmarshal(wire, &req); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.PublishEvents(b.Context(), &req); err != nil {
				b.Fatal(err)
			}
		}
	})
}
