package programs

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/serve"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// Notifier is the API of one replica, called with the key that may do everything.
type Notifier struct {
	Events        notifierv1.EventServiceClient
	Deliveries    notifierv1.DeliveryServiceClient
	Subscriptions notifierv1.SubscriptionServiceClient
	Process       *stack.Process
}

// Notifier connects to the n-th replica, from 1.
func (s *Stack) Notifier(t testing.TB, n int) *Notifier {
	t.Helper()
	p := s.Processes[fmt.Sprintf("notifier-%d", n)]
	conn := s.Dial(t, p.Env["NOTIFIER_GRPC_ADDR"], s.Description.Notifier.AdminKey)
	return &Notifier{
		Events: notifierv1.NewEventServiceClient(conn), Deliveries: notifierv1.NewDeliveryServiceClient(conn),
		Subscriptions: notifierv1.NewSubscriptionServiceClient(conn), Process: p,
	}
}

// Dial connects to a gRPC address of the stack until the test ends.
func (s *Stack) Dial(t testing.TB, addr, key string) *grpc.ClientConn {
	t.Helper()
	conn, err := serve.DialGRPC(serve.ClientConfig{Addr: addr, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Subscribe creates a subscription and waits until it is active.
func (n *Notifier) Subscribe(t testing.TB, s *notifierv1.Subscription) *notifierv1.Subscription {
	t.Helper()
	created, err := n.Subscriptions.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: s})
	if err != nil {
		t.Fatal(err)
	}
	return n.AwaitStatus(t, created.GetId(), notifierv1.Subscription_ACTIVE)
}

// AwaitStatus waits until a subscription has a status.
func (n *Notifier) AwaitStatus(t testing.TB, id string, want notifierv1.Subscription_Status) *notifierv1.Subscription {
	t.Helper()
	var s *notifierv1.Subscription
	Eventually(t, 20*time.Second, func() error {
		var err error
		if s, err = n.Subscriptions.GetSubscription(t.Context(), &notifierv1.GetSubscriptionRequest{Id: id}); err != nil {
			return err
		}
		if s.GetStatus() != want {
			return fmt.Errorf("the subscription is %s (%s), not %s", s.GetStatus(), s.GetStatusReason(), want)
		}
		return nil
	})
	return s
}

// Publish publishes events in one call.
func (n *Notifier) Publish(t testing.TB, events ...*notifierv1.Event) {
	t.Helper()
	if _, err := n.Events.PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: events}); err != nil {
		t.Fatal(err)
	}
}

// Balance is that of one subscription, or of all when id is empty. It fails the test when it does not add up.
func (n *Notifier) Balance(t testing.TB, id string) *notifierv1.Balance {
	t.Helper()
	b, err := n.balance(t, id)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (n *Notifier) balance(t testing.TB, id string) (*notifierv1.Balance, error) {
	t.Helper()
	b, err := n.Deliveries.GetBalance(t.Context(), &notifierv1.GetBalanceRequest{SubscriptionId: id})
	if err == nil && b.GetFannedOut() != b.GetDelivered()+b.GetPending()+b.GetDead()+b.GetCancelled() {
		t.Errorf("the balance does not add up: %v", b)
	}
	return b, err
}

// AwaitBalance waits until the balance of want's subscription is as wanted; fanned out is the sum. What is counted last, the
// end of an attempt, is stored a moment after the bank has seen it.
func (n *Notifier) AwaitBalance(t testing.TB, within time.Duration, want *notifierv1.Balance) {
	t.Helper()
	want = proto.CloneOf(want)
	want.FannedOut = want.GetDelivered() + want.GetPending() + want.GetDead() + want.GetCancelled()
	Eventually(t, within, func() error {
		got, err := n.balance(t, want.GetSubscriptionId())
		if err == nil && !proto.Equal(got, want) {
			err = fmt.Errorf("the balance is %v, want %v", got, want)
		}
		return err
	})
}

// List are all deliveries of a subscription, newest first.
func (n *Notifier) List(t testing.TB, request *notifierv1.ListDeliveriesRequest) []*notifierv1.Delivery {
	t.Helper()
	request = proto.CloneOf(request)
	request.PageSize = 1000
	var all []*notifierv1.Delivery
	for {
		page, err := n.Deliveries.ListDeliveries(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.GetDeliveries()...)
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return all
		}
	}
}

// Attempts are those of the one delivery that the request finds, oldest first.
func (n *Notifier) Attempts(t testing.TB, request *notifierv1.ListDeliveriesRequest) (*notifierv1.Delivery, []*notifierv1.Attempt) {
	t.Helper()
	found := n.List(t, request)
	if len(found) != 1 {
		t.Fatalf("%d deliveries for %v, want one", len(found), request)
	}
	d, err := n.Deliveries.GetDelivery(t.Context(), &notifierv1.GetDeliveryRequest{Id: found[0].GetId()})
	if err != nil {
		t.Fatal(err)
	}
	return d, d.GetAttempts()
}

// Event makes an event about an employee: created for version 1, else updated. The department is for filters.
func Event(t testing.TB, employee string, version int, department string) *notifierv1.Event {
	t.Helper()
	data, err := structpb.NewStruct(map[string]any{"employee": map[string]any{
		"id": employee, "employee_number": employee, "given_name": "Mock", "family_name": "Person", "email": employee + "@example.com",
		"job_title": "", "department": department, "hire_date": "2026-01-05", "country": "DE", "currency": "EUR", "status": "ACTIVE", "version": version,
		"created_at": "2026-11-20T09:00:00Z", "updated_at": "2026-11-20T09:00:00Z",
	}})
	if err != nil {
		t.Fatal(err)
	}
	kind := "employee.created"
	if version > 1 {
		kind = "employee.updated"
	}
	return &notifierv1.Event{Id: id.New("evt"), Type: kind, Timestamp: timestamppb.Now(), Data: data}
}

// Eventually waits until check returns nil, and fails the test with its last error when that takes too long.
func Eventually(t testing.TB, within time.Duration, check func() error) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
