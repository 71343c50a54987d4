package flow_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/serve"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// Without faults, replicas that share a database send every event once: leases keep them apart.
func TestThreeReplicasSendEachEventOnce(t *testing.T) {
	const events, perCall = 20_000, 20
	dir := t.TempDir()
	s := programs.Start(t, stack.Config{Dir: dir, Notifiers: 3, DatabaseURL: programs.PostgresURL(t)})
	bank := mockbank.Start(t, dir, nil)
	subscribe(t, s, bank)

	var wait sync.WaitGroup
	for replica := range 3 {
		conn, err := serve.DialGRPC(serve.ClientConfig{Addr: s.Processes[fmt.Sprintf("notifier-%d", replica+1)].Env["NOTIFIER_GRPC_ADDR"], Key: s.Description.Notifier.PublisherKey})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		client := notifierv1.NewEventServiceClient(conn)
		for worker := range 4 {
			wait.Go(func() {
				for n := replica*4 + worker; n < events/perCall; n += 12 {
					request := &notifierv1.PublishEventsRequest{}
					for range perCall {
						request.Events = append(request.Events, newEvent(t, id.New("emp"), 1))
					}
					if _, err := client.PublishEvents(t.Context(), request); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wait.Wait()
	for end := time.Now().Add(60 * time.Second); bank.Count() < events && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	assertBalanced(t, s, events)
	seen := map[string]int{}
	for _, r := range bank.Requests() {
		seen[r.ID]++
		if !r.Valid {
			t.Fatalf("%s came with a wrong signature", r.ID)
		}
	}
	if posts := bank.Count(); len(seen) != events || posts != events {
		t.Errorf("%d POSTs of %d events arrived, want one each of %d", posts, len(seen), events)
	}
}

func subscribe(t *testing.T, s *programs.Stack, bank *mockbank.Bank) *notifierv1.Subscription {
	t.Helper()
	subscription, err := s.Clients.Subscriptions.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: &notifierv1.Subscription{
		Name: "mock", Url: bank.URL + "/hook", Secret: bank.Secret.Reveal(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		now, err := s.Clients.Subscriptions.GetSubscription(t.Context(), &notifierv1.GetSubscriptionRequest{Id: subscription.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		if now.GetStatus() == notifierv1.Subscription_ACTIVE {
			return now
		}
	}
	t.Fatal("the subscription does not become active")
	return nil
}

func newEvent(t testing.TB, employee string, version int) *notifierv1.Event {
	t.Helper()
	data, err := structpb.NewStruct(map[string]any{"employee": map[string]any{
		"id": employee, "employee_number": employee, "given_name": "Mock", "family_name": "Person", "email": employee + "@example.com",
		"job_title": "", "department": "", "hire_date": "2026-01-05", "country": "DE", "currency": "EUR", "status": "ACTIVE", "version": version,
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
