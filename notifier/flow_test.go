package notifier_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// aboutEmployee is an event about one, in a country.
func aboutEmployee(t *testing.T, typ, employeeID, country string, version int) *notifierv1.Event {
	t.Helper()
	data, err := structpb.NewStruct(map[string]any{"employee": map[string]any{
		"id": employeeID, "version": float64(version), "employee_number": "E-" + employeeID, "given_name": "Zoë", "family_name": "李",
		"email": employeeID + "@example.com", "job_title": "Engineer", "department": "Platform", "hire_date": "2026-11-20",
		"country": country, "currency": "EUR", "status": "ACTIVE", "created_at": "2026-11-20T09:00:00Z", "updated_at": "2026-11-20T09:00:00Z",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &notifierv1.Event{Id: id.New("evt"), Type: typ, Timestamp: timestamppb.Now(), Data: data}
}

// hire publishes one event for each of n new employees and gives their ids.
func (c *client) hire(t *testing.T, n int, country string) (ids []string) {
	t.Helper()
	var events []*notifierv1.Event
	for range n {
		e := aboutEmployee(t, "employee.created", id.New("emp"), country, 1)
		events, ids = append(events, e), append(ids, e.GetId())
	}
	if _, err := c.PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: events}); err != nil {
		t.Fatal(err)
	}
	return ids
}

// has says whether the bank has seen exactly these events, once each, and no other but tests.
func (b *bank) has(t *testing.T, ids ...[]string) bool {
	t.Helper()
	want := map[string]int{}
	for _, list := range ids {
		for _, id := range list {
			want[id] = 0
		}
	}
	n := 0
	for _, e := range b.seen() {
		if _, ok := want[e.ID]; !ok {
			t.Fatalf("the bank got %s %s, which is not for it", e.Type, e.ID)
		}
		if want[e.ID]++; want[e.ID] > 1 {
			t.Fatalf("the bank got %s twice", e.ID)
		}
		n++
	}
	return n == len(want)
}

// wantBalanced fails the test unless every delivery is accounted for.
func (c *client) wantBalanced(t *testing.T, subscriptionID string, delivered, pending, dead, cancelled int64) {
	t.Helper()
	var got *notifierv1.Balance
	eventually(t, "the balance is as it should be", 5*time.Second, func() bool {
		var err error
		if got, err = c.GetBalance(t.Context(), &notifierv1.GetBalanceRequest{SubscriptionId: subscriptionID}); err != nil {
			t.Fatal(err)
		}
		return got.GetDelivered() == delivered && got.GetPending() == pending && got.GetDead() == dead && got.GetCancelled() == cancelled
	})
	if got.GetFannedOut() != delivered+pending+dead+cancelled {
		t.Errorf("balance: %v", got)
	}
}

func TestEventsReachWhoWantsThem(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub := n.as(t, "publisher")
		all, german := newBank(t), newBank(t)
		a := n.as(t, "bank-a").subscribe(t, all, nil)
		g := n.as(t, "bank-b").subscribe(t, german, func(s *notifierv1.Subscription) {
			s.EventTypes, s.Filter = []string{"employee.created"}, `event.data.employee.country == "DE"`
		})
		de, fr := pub.hire(t, 20, "DE"), pub.hire(t, 30, "FR")
		eventually(t, "all have arrived", 10*time.Second, func() bool { return all.has(t, de, fr) && german.has(t, de) })
		n.as(t, "bank-a").wantBalanced(t, a.GetId(), 50, 0, 0, 0)
		n.as(t, "bank-b").wantBalanced(t, g.GetId(), 20, 0, 0, 0)
		n.as(t, "admin").wantBalanced(t, "", 70, 0, 0, 0)
	})
}

func TestHeldEventsDrainInOrderWhenItResumes(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, c := n.as(t, "publisher"), n.as(t, "bank-a")
		b := newBank(t)
		s := c.subscribe(t, b, nil)
		if _, err := c.PauseSubscription(t.Context(), &notifierv1.PauseSubscriptionRequest{Id: s.GetId()}); err != nil {
			t.Fatal(err)
		}
		emp := id.New("emp")
		var ids []string
		for version := 1; version <= 20; version++ {
			typ := "employee.updated"
			if version == 1 {
				typ = "employee.created"
			}
			e := aboutEmployee(t, typ, emp, "DE", version)
			ids = append(ids, e.GetId())
			if _, err := pub.PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{e}}); err != nil {
				t.Fatal(err)
			}
		}
		c.wantBalanced(t, s.GetId(), 0, 20, 0, 0)
		if len(b.seen()) != 0 {
			t.Fatal("a paused subscription was sent to")
		}
		if _, err := c.ResumeSubscription(t.Context(), &notifierv1.ResumeSubscriptionRequest{Id: s.GetId()}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what was held has arrived", 10*time.Second, func() bool { return b.has(t, ids) })
		for i, e := range b.seen() {
			if e.ID != ids[i] {
				t.Fatalf("event %d is %s, want %s: out of order", i, e.ID, ids[i])
			}
		}
		c.wantBalanced(t, s.GetId(), 20, 0, 0, 0)
	})
}

func TestEventsBeforeTheVerificationAreKept(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, c := n.as(t, "publisher"), n.as(t, "bank-a")
		b := newBank(t)
		b.answers(http.StatusServiceUnavailable)
		s, err := c.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: &notifierv1.Subscription{Name: "x", Url: b.URL}})
		if err != nil {
			t.Fatal(err)
		}
		ids := pub.hire(t, 10, "DE")
		c.wantBalanced(t, s.GetId(), 0, 10, 0, 0)
		if err := b.SetSecrets(parseSecret(t, s.GetSecret())); err != nil {
			t.Fatal(err)
		}
		b.answers(0)
		if _, err := c.VerifySubscription(t.Context(), &notifierv1.VerifySubscriptionRequest{Id: s.GetId()}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all have arrived", 10*time.Second, func() bool { return b.has(t, ids) })
	})
}

func TestDeletingCancels(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, c, admin := n.as(t, "publisher"), n.as(t, "bank-a"), n.as(t, "admin")
		b := newBank(t)
		s := c.subscribe(t, b, nil)
		sent := pub.hire(t, 5, "DE")
		eventually(t, "the first have arrived", 10*time.Second, func() bool { return b.has(t, sent) })
		if _, err := c.PauseSubscription(t.Context(), &notifierv1.PauseSubscriptionRequest{Id: s.GetId()}); err != nil {
			t.Fatal(err)
		}
		pub.hire(t, 1000, "DE")
		pub.hire(t, 700, "DE")
		if _, err := c.DeleteSubscription(t.Context(), &notifierv1.DeleteSubscriptionRequest{Id: s.GetId()}); err != nil {
			t.Fatal(err)
		}
		pub.hire(t, 10, "DE")
		eventually(t, "all are cancelled", 15*time.Second, func() bool {
			got, err := admin.GetBalance(t.Context(), &notifierv1.GetBalanceRequest{})
			return err == nil && got.GetPending() == 0 && got.GetCancelled() == 1700 && got.GetDelivered() == 5 && got.GetFannedOut() == 1705
		})
		list, err := c.ListDeliveries(t.Context(), &notifierv1.ListDeliveriesRequest{Status: notifierv1.Delivery_CANCELLED, PageSize: 10})
		if err != nil || len(list.GetDeliveries()) != 10 {
			t.Errorf("its owner sees %d cancelled deliveries, %v", len(list.GetDeliveries()), err)
		}
		if !b.has(t, sent) {
			t.Error("a deleted subscription was sent to")
		}
	})
}

func TestGoneDisablesAndHolds(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, c := n.as(t, "publisher"), n.as(t, "bank-a")
		b := newBank(t)
		s := c.subscribe(t, b, func(s *notifierv1.Subscription) {
			s.RetrySchedule = []*durationpb.Duration{durationpb.New(0), durationpb.New(time.Second), durationpb.New(time.Second)}
		})
		b.answers(http.StatusGone)
		ids := pub.hire(t, 1, "DE")
		eventually(t, "it is disabled", 5*time.Second, func() bool { return c.status(t, s.GetId()) == notifierv1.Subscription_DISABLED })
		ids = append(ids, pub.hire(t, 5, "DE")...)
		c.wantBalanced(t, s.GetId(), 0, 6, 0, 0)
		got, err := c.GetSubscription(t.Context(), &notifierv1.GetSubscriptionRequest{Id: s.GetId()})
		if err != nil || got.GetStatusReason() != "the receiver answered 410 Gone" {
			t.Errorf("the reason: %v, %v", got, err)
		}
		b.answers(0)
		if _, err := c.ResumeSubscription(t.Context(), &notifierv1.ResumeSubscriptionRequest{Id: s.GetId()}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what was held has arrived", 10*time.Second, func() bool { return b.has(t, ids) })
		audit, err := n.as(t, "admin").ListAuditEntries(t.Context(), &notifierv1.ListAuditEntriesRequest{Resource: s.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		var actions []string
		for _, e := range audit.GetAuditEntries() {
			actions = append(actions, e.GetActor()+" "+e.GetAction())
		}
		want := "[bank-a ResumeSubscription notifier DisableSubscription notifier VerifySubscription bank-a CreateSubscription]"
		if fmt.Sprint(actions) != want {
			t.Errorf("audit: %v, want %s", actions, want)
		}
	})
}

func TestStartFromBringsThePast(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub := n.as(t, "publisher")
		old := pub.hire(t, 30, "DE")
		timer := time.NewTimer(20 * time.Millisecond)
		<-timer.C
		middle := time.Now()
		recent := pub.hire(t, 20, "DE")
		pub.hire(t, 5, "FR")
		past, since := append(old, recent...), recent
		for _, c := range []struct {
			from string
			want *[]string
		}{{"NOW", new([]string)}, {"EARLIEST", &past}, {middle.UTC().Format(time.RFC3339Nano), &since}} {
			b := newBank(t)
			s := n.as(t, "bank-a").subscribe(t, b, func(s *notifierv1.Subscription) {
				s.StartFrom, s.Filter = c.from, `event.data.employee.country == "DE"`
			})
			live := pub.hire(t, 3, "DE")
			eventually(t, "from "+c.from+" on, with what is live", 15*time.Second, func() bool { return b.has(t, *c.want, live) })
			n.as(t, "bank-a").wantBalanced(t, s.GetId(), int64(len(*c.want)+len(live)), 0, 0, 0)
			if _, err := n.as(t, "bank-a").DeleteSubscription(t.Context(), &notifierv1.DeleteSubscriptionRequest{Id: s.GetId()}); err != nil {
				t.Fatal(err)
			}
			past, since = append(past, live...), append(since, live...)
		}
	})
}
