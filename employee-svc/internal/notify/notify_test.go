package notify_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/employee-svc/internal/notify"
	"hirewire.dev/employee-svc/internal/outbox"
	"hirewire.dev/platform/rpc"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

func event(name string) employee.Event {
	hired := time.Date(2026, 11, 20, 9, 0, 0, 120000, time.UTC)
	e := employee.Employee{
		Number: "E-1001", GivenName: name, FamilyName: "李", Email: "ada@example.com", Department: "R&D",
		HireDate: "2026-11-20", Country: "GB", Currency: "GBP",
	}.Hired("emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", hired)
	e.Version, e.UpdatedAt = 3, hired.Add(time.Hour)
	return employee.Event{
		ID: "evt_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", Type: employee.Updated, At: e.UpdatedAt, Employee: e,
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

func TestEncode(t *testing.T) {
	for name, e := range map[string]employee.Event{
		"plain": event("Ada"), "empty": {Employee: employee.Employee{}}, "long": event(strings.Repeat("Zoë 李 <&>\"", 300)),
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := notify.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			var got notifierv1.Event
			if err := proto.Unmarshal(raw, &got); err != nil {
				t.Fatal(err)
			}
			data, err := structpb.NewStruct(map[string]any{"employee": map[string]any{
				"id": e.Employee.ID, "employee_number": e.Employee.Number, "given_name": e.Employee.GivenName,
				"family_name": e.Employee.FamilyName, "email": e.Employee.Email, "job_title": e.Employee.JobTitle,
				"department": e.Employee.Department, "hire_date": e.Employee.HireDate, "country": e.Employee.Country,
				"currency": e.Employee.Currency, "status": e.Employee.Status.String(), "version": e.Employee.Version,
				"created_at": e.Employee.CreatedAt.Format("2006-01-02T15:04:05.000000Z"),
				"updated_at": e.Employee.UpdatedAt.Format("2006-01-02T15:04:05.000000Z"),
			}})
			if err != nil {
				t.Fatal(err)
			}
			want := &notifierv1.Event{
				Id: e.ID, Type: string(e.Type), Timestamp: timestamppb.New(e.At), Data: data, Traceparent: e.Traceparent,
			}
			if diff := cmp.Diff(want, &got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEncodeReadsAsTheDesignSays(t *testing.T) {
	raw, err := notify.Encode(event("Ada"))
	if err != nil {
		t.Fatal(err)
	}
	var got notifierv1.Event
	if err := proto.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	data, err := protojson.Marshal(got.GetData())
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"version":3`, `"status":"ACTIVE"`, `"created_at":"2026-11-20T09:00:00.000120Z"`, `"job_title":""`} {
		if !strings.Contains(strings.ReplaceAll(string(data), " ", ""), part) {
			t.Errorf("%s is not in %s", part, data)
		}
	}
}

// server is a notifier that answers with err, or acknowledges.
type server struct {
	notifierv1.UnimplementedEventServiceServer
	err  error
	got  *notifierv1.PublishEventsRequest
	lose int // acknowledgements
}

func (s *server) PublishEvents(_ context.Context, req *notifierv1.PublishEventsRequest) (*notifierv1.PublishEventsResponse, error) {
	s.got = req
	if s.err != nil {
		return nil, s.err
	}
	reply := &notifierv1.PublishEventsResponse{}
	for _, e := range req.GetEvents()[s.lose:] {
		reply.EventIds = append(reply.EventIds, e.GetId())
	}
	return reply, nil
}

func dial(t *testing.T, s *server) notify.Publisher {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	notifierv1.RegisterEventServiceServer(g, s)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return notify.NewPublisher(conn)
}

func batchOf(t *testing.T, names ...string) (batch []outbox.Message) {
	t.Helper()
	for _, name := range names {
		body, err := notify.Encode(event(name))
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, outbox.Message{Body: body})
	}
	return batch
}

func TestPublish(t *testing.T) {
	s := &server{}
	if err := dial(t, s).Publish(t.Context(), batchOf(t, "Ada", "Grace")); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range s.got.GetEvents() {
		names = append(names, e.GetData().GetFields()["employee"].GetStructValue().GetFields()["given_name"].GetStringValue())
	}
	if diff := cmp.Diff([]string{"Ada", "Grace"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestPublishErrors(t *testing.T) {
	for code, want := range map[codes.Code]error{
		codes.InvalidArgument: outbox.ErrRefused, codes.AlreadyExists: outbox.ErrRefused, codes.FailedPrecondition: outbox.ErrRefused,
		codes.OutOfRange: outbox.ErrRefused, codes.Internal: outbox.ErrBroken, codes.Unknown: outbox.ErrBroken, codes.DataLoss: outbox.ErrBroken,
		codes.Unavailable: nil, codes.DeadlineExceeded: nil, codes.ResourceExhausted: nil, codes.Unauthenticated: nil,
		codes.PermissionDenied: nil, codes.Aborted: nil, codes.Canceled: nil, codes.Unimplemented: nil, codes.NotFound: nil,
	} {
		t.Run(code.String(), func(t *testing.T) {
			err := dial(t, &server{err: status.Error(code, "why")}).Publish(t.Context(), batchOf(t, "Ada"))
			if err == nil {
				t.Fatal("no error")
			}
			for _, class := range []error{outbox.ErrRefused, outbox.ErrBroken} {
				if got := errors.Is(err, class); got != errors.Is(want, class) {
					t.Errorf("%v: is %v: %v", err, class, got)
				}
			}
		})
	}
	if err := dial(t, &server{lose: 1}).Publish(t.Context(), batchOf(t, "Ada", "Grace")); err == nil {
		t.Error("an acknowledgement of one of two was taken for both")
	}
}

// That events are ahead of the notifier's clock passes; what else is wrong with them does not.
func TestPublishTooEarly(t *testing.T) {
	early := rpc.Violation{Field: "events[0].timestamp", Reason: "must not be in the future"}
	for name, test := range map[string]struct {
		violations []rpc.Violation
		want       error
	}{
		"early":            {[]rpc.Violation{early}, outbox.ErrEarly},
		"early and broken": {[]rpc.Violation{early, {Field: "events[0].data", Reason: "is missing"}}, outbox.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			err := dial(t, &server{err: rpc.Invalid(test.violations...).Err()}).Publish(t.Context(), batchOf(t, "Ada"))
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	e := event("Ada")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := notify.Encode(e); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleEncode() {
	raw, _ := notify.Encode(event("Ada"))
	var e notifierv1.Event
	_ = proto.Unmarshal(raw, &e)
	fmt.Println(e.GetType(), e.GetTimestamp().AsTime().Format(time.RFC3339Nano))
	// Output: employee.updated 2026-11-20T10:00:00.00012Z
}
