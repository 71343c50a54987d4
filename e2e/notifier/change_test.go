package notifier_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// What an administrator does to a subscription while its deliveries are being tried is in force when the call returns: at most
// the attempt that is under way still arrives.
func TestSubscriptionsChangeMidFlight(t *testing.T) {
	engines(t, func(t *testing.T, e *engine) {
		t.Run("pause and resume", func(t *testing.T) { t.Parallel(); testPause(t, e) })
		t.Run("delete", func(t *testing.T) { t.Parallel(); testDelete(t, e) })
		t.Run("another URL", func(t *testing.T) { t.Parallel(); testURLChange(t, e) })
		t.Run("another filter", func(t *testing.T) { t.Parallel(); testFilterChange(t, e) })
	})
}

// failingBank answers 500 until it is repaired.
func failingBank() (cfg mockbank.Config, repair func()) {
	var well atomic.Bool
	return mockbank.Config{Answer: func(context.Context, mockbank.Request) mockbank.Answer {
		if well.Load() {
			return mockbank.Answer{}
		}
		return mockbank.Answer{Status: http.StatusInternalServerError}
	}}, func() { well.Store(true) }
}

// often is a schedule that tries every 50 ms, for about 5 s.
func often(s *notifierv1.Subscription) {
	waits := make([]time.Duration, 100)
	for i := range waits[1:] {
		waits[i+1] = 50 * time.Millisecond
	}
	schedule(waits...)(s)
}

// settled waits until another replica has seen the change too, and gives what has come by then.
//
// The call's own replica follows at once. Others do within a second, or when they next publish; so here they publish.
func (r *receiver) settled(t testing.TB) int {
	t.Helper()
	for _, n := range r.engine.replicas {
		n.Publish(t, programs.Event(t, "emp-nobody", 1, "nobody's "+id.New("sub")))
	}
	return r.Count()
}

func testPause(t *testing.T, e *engine) {
	cfg, repair := failingBank()
	r := e.subscribe(t, cfg, often)
	e.Publish(t, r.event(t, "emp-one", 1))
	r.awaitCount(t, 3, 10*time.Second)

	paused, err := e.Subscriptions.PauseSubscription(t.Context(), &notifierv1.PauseSubscriptionRequest{Id: r.id})
	if err != nil {
		t.Fatal(err)
	}
	if paused.GetStatus() != notifierv1.Subscription_PAUSED {
		t.Fatalf("paused, it is %s", paused.GetStatus())
	}
	before := r.settled(t)
	e.Publish(t, r.event(t, "emp-one", 2), r.event(t, "emp-two", 1), r.event(t, "emp-three", 1))
	time.Sleep(time.Second)
	if after := r.Count() - before; after > 1 {
		t.Errorf("%d POSTs came after the subscription was paused", after)
	}
	r.awaitBalance(t, &notifierv1.Balance{Pending: 4})

	repair()
	before = r.Count()
	if _, err := e.Subscriptions.ResumeSubscription(t.Context(), &notifierv1.ResumeSubscriptionRequest{Id: r.id}); err != nil {
		t.Fatal(err)
	}
	r.awaitBalance(t, &notifierv1.Balance{Delivered: 4})
	requests := r.Requests()
	if n := len(requests) - before; n != 4 {
		t.Errorf("%d POSTs came for the four that were held", n)
	}
	assertInOrder(t, requests)
	assertStable(t, requests)
}

func testDelete(t *testing.T, e *engine) {
	cfg, _ := failingBank()
	r := e.subscribe(t, cfg, often)
	events := []*notifierv1.Event{r.event(t, "emp-one", 1), r.event(t, "emp-one", 2), r.event(t, "emp-two", 1)}
	e.Publish(t, events...)
	r.awaitCount(t, 4, 10*time.Second)
	if _, err := e.Subscriptions.DeleteSubscription(t.Context(), &notifierv1.DeleteSubscriptionRequest{Id: r.id}); err != nil {
		t.Fatal(err)
	}
	before := r.settled(t)
	e.Publish(t, r.event(t, "emp-three", 1))
	time.Sleep(time.Second)
	if after := r.Count() - before; after > 2 { // one for each employee may have been under way
		t.Errorf("%d POSTs came after the subscription was deleted", after)
	}
	r.awaitBalance(t, &notifierv1.Balance{Cancelled: 3})
	for _, event := range events {
		d, attempts := r.delivery(t, event)
		if d.GetStatus() != notifierv1.Delivery_CANCELLED || d.GetNextAttemptAt() != nil {
			t.Errorf("the delivery is %v, want it cancelled", d)
		}
		for _, a := range attempts {
			if a.GetOutcome() != "rejected" {
				t.Errorf("the attempt is %v, want rejected", a)
			}
		}
	}
}

func testURLChange(t *testing.T, e *engine) {
	cfg, _ := failingBank()
	r := e.subscribe(t, cfg, often)
	e.Publish(t, r.event(t, "emp-one", 1))
	r.awaitCount(t, 3, 10*time.Second)

	next := mockbank.Open(t, e.dir, mockbank.Config{})
	next.Trust(r.Secret)
	changed, err := e.Subscriptions.UpdateSubscription(t.Context(), &notifierv1.UpdateSubscriptionRequest{
		Subscription: &notifierv1.Subscription{Id: r.id, Url: next.URL + "/moved"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"url"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if changed.GetStatus() != notifierv1.Subscription_PENDING_VERIFICATION {
		t.Errorf("with another URL it is %s, want it to be verified again", changed.GetStatus())
	}
	before := r.settled(t)
	e.Publish(t, r.event(t, "emp-one", 2))
	e.AwaitStatus(t, r.id, notifierv1.Subscription_ACTIVE)
	r.awaitBalance(t, &notifierv1.Balance{Delivered: 2})
	if after := r.Count() - before; after > 1 {
		t.Errorf("%d POSTs came to the old URL after it was changed", after)
	}
	moved := next.Requests()
	if len(moved) != 2 || moved[0].Path != "/moved" || moved[0].Version != 1 || moved[1].Version != 2 {
		t.Errorf("the new URL got %v, want both events in order", moved)
	}
	if old := r.Requests()[0]; len(moved) > 0 && (old.ID != moved[0].ID || old.Body != moved[0].Body) {
		t.Error("the event came to the new URL with another id or body")
	}
}

// A filter decides when an event is published: what was fanned out by the old one is delivered.
func testFilterChange(t *testing.T, e *engine) {
	cfg, repair := failingBank()
	r := e.subscribe(t, cfg, often)
	e.Publish(t, r.event(t, "emp-one", 1))
	r.awaitCount(t, 3, 10*time.Second)
	other := "department " + id.New("sub")
	if _, err := e.Subscriptions.UpdateSubscription(t.Context(), &notifierv1.UpdateSubscriptionRequest{
		Subscription: &notifierv1.Subscription{Id: r.id, Filter: fmt.Sprintf("event.data.employee.department == %q", other)},
		UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"filter"}},
	}); err != nil {
		t.Fatal(err)
	}
	// Whichever replica takes them in: the change holds from the moment at which the call returned.
	for i, n := range e.replicas {
		n.Publish(t, r.event(t, fmt.Sprintf("emp-old-%d", i), 1), programs.Event(t, fmt.Sprintf("emp-new-%d", i), 1, other))
	}
	repair()
	r.awaitBalance(t, &notifierv1.Balance{Delivered: 1 + int64(len(e.replicas))})
	for _, request := range r.Requests() {
		if request.Employee[:6] == "emp-ol" {
			t.Errorf("%s came though the filter no longer lets it through", request.Employee)
		}
	}
}
