package rpc

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/platform/internal/testpb"
)

// BenchmarkCheckText is what a look at every string costs, for a call with 500 events.
func BenchmarkCheckText(b *testing.B) {
	extra, err := structpb.NewStruct(map[string]any{"employee": map[string]any{
		"id": "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", "employee_number": "E-1", "given_name": "Zoë", "family_name": "李", "email": "zoe@example.test",
		"job_title": "Engineer", "department": "R&D", "hire_date": "2026-11-20", "country": "DE", "currency": "EUR", "status": "ACTIVE",
		"version": 1, "created_at": "2026-11-20T09:00:00.123456Z", "updated_at": "2026-11-20T09:00:00Z",
	}})
	if err != nil {
		b.Fatal(err)
	}
	in := &testpb.BatchCreateThingsRequest{}
	for range 500 {
		in.Requests = append(in.Requests, &testpb.CreateThingRequest{
			Thing:     &testpb.Thing{Id: "evt_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", GivenName: "employee.created", CreatedAt: timestamppb.Now(), Extra: extra},
			RequestId: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		})
	}
	wire, err := proto.Marshal(in)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) { // for comparison
		for b.Loop() {
			if err := proto.Unmarshal(wire, &testpb.BatchCreateThingsRequest{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := checkText(in.ProtoReflect()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
