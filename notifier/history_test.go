package notifier_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

// deliveries lists all that the request asks for.
func (c *client) deliveries(t *testing.T, req *notifierv1.ListDeliveriesRequest) (all []*notifierv1.Delivery) {
	t.Helper()
	for {
		page, err := c.ListDeliveries(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.GetDeliveries()...)
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			return all
		}
	}
}

// schedule tries twice, a moment apart.
func quickly(s *notifierv1.Subscription) {
	s.RetrySchedule = []*durationpb.Duration{durationpb.New(0), durationpb.New(50 * time.Millisecond)}
}

// A dead delivery is listed with its attempts, and sent again under the same id and body when somebody asks for it.
func TestADeadDeliveryIsRetried(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, own, other, viewer := n.as(t, "publisher"), n.as(t, "bank-a"), n.as(t, "bank-b"), n.as(t, "viewer")
		b := newBank(t)
		sub := own.subscribe(t, b, quickly)
		b.answers(418)
		e := fact(t, "emp_1", 1, nil)
		pub.publish(t, e)
		req := func() *notifierv1.ListDeliveriesRequest {
			return &notifierv1.ListDeliveriesRequest{SubscriptionId: sub.GetId(), Status: notifierv1.Delivery_DEAD}
		}
		eventually(t, "it is dead", 10*time.Second, func() bool { return len(own.deliveries(t, req())) == 1 })
		dlv := own.deliveries(t, req())[0].GetId()
		d, err := own.GetDelivery(t.Context(), &notifierv1.GetDeliveryRequest{Id: dlv})
		if err != nil || len(d.GetAttempts()) != 2 || d.GetAttemptCount() != 2 || d.GetEventId() != e.GetId() || d.GetEmployeeId() != "emp_1" || d.NextAttemptAt != nil {
			t.Fatalf("%v, %v", d, err)
		}
		for i, a := range d.GetAttempts() {
			if a.GetNumber() != int32(i+1) || a.GetStatusCode() != 418 || a.GetOutcome() != "rejected" || a.GetError() == "" || a.GetStartedAt() == nil {
				t.Errorf("%v", a)
			}
		}
		for who, c := range map[string]*client{"another bank": other} {
			_, err := c.GetDelivery(t.Context(), &notifierv1.GetDeliveryRequest{Id: dlv})
			wantCode(t, who+" gets it", err, codes.NotFound)
			_, err = c.RetryDelivery(t.Context(), &notifierv1.RetryDeliveryRequest{Id: dlv})
			wantCode(t, who+" retries it", err, codes.NotFound)
			if got := c.deliveries(t, req()); len(got) != 0 {
				t.Errorf("%s lists %v", who, got)
			}
			_, err = c.GetBalance(t.Context(), &notifierv1.GetBalanceRequest{SubscriptionId: sub.GetId()})
			wantCode(t, who+" balances it", err, codes.NotFound)
		}
		_, err = viewer.RetryDelivery(t.Context(), &notifierv1.RetryDeliveryRequest{Id: dlv})
		wantCode(t, "a viewer retries it", err, codes.PermissionDenied)
		if got := viewer.deliveries(t, &notifierv1.ListDeliveriesRequest{EventId: e.GetId()}); len(got) != 1 {
			t.Errorf("a viewer lists %v", got)
		}
		_, err = own.GetDelivery(t.Context(), &notifierv1.GetDeliveryRequest{Id: id.New("dlv")})
		wantCode(t, "no such delivery", err, codes.NotFound)
		_, err = own.GetDelivery(t.Context(), &notifierv1.GetDeliveryRequest{Id: "../../etc/passwd"})
		wantCode(t, "no id", err, codes.InvalidArgument)
		_, err = own.ListDeliveries(t.Context(), &notifierv1.ListDeliveriesRequest{PageToken: "x"})
		wantCode(t, "no token", err, codes.InvalidArgument)
		_, err = own.ListDeliveries(t.Context(), &notifierv1.ListDeliveriesRequest{PageSize: -1})
		wantCode(t, "no size", err, codes.InvalidArgument)

		b.answers(0)
		for range 2 { // again is no harm
			if d, err := own.RetryDelivery(t.Context(), &notifierv1.RetryDeliveryRequest{Id: dlv}); err != nil || d.GetId() != dlv {
				t.Errorf("%v, %v", d, err)
			}
			eventually(t, "it arrives", 5*time.Second, func() bool { return len(b.seen()) >= 1 })
		}
		eventually(t, "it is delivered", 5*time.Second, func() bool {
			d, err = own.GetDelivery(t.Context(), &notifierv1.GetDeliveryRequest{Id: dlv})
			return err == nil && d.GetStatus() == notifierv1.Delivery_DELIVERED
		})
		if seen := b.seen(); seen[0].ID != e.GetId() {
			t.Errorf("sent as %s", seen[0].ID)
		}
		if d.GetAttempts()[2].GetOutcome() != "delivered" || d.GetDeliveredAt() == nil {
			t.Errorf("%v", d)
		}
		code, answer := own.rest(t, "GET", "/v1/deliveries/"+dlv, "")
		if list, _ := answer["attempts"].([]any); code != 200 || answer["status"] != "DELIVERED" || len(list) != len(d.GetAttempts()) {
			t.Errorf("over REST: %d %v", code, answer)
		}
		if code, answer := own.rest(t, "POST", "/v1/deliveries/"+dlv+":retry", "{}"); code != 200 {
			t.Errorf("retried over REST: %d %v", code, answer)
		}
		balanced(t, own, sub.GetId(), 1)
	})
}

// A deleted subscription's pending deliveries are cancelled, listed, and cannot be sent.
func TestCancelledDeliveriesStayListed(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		own := n.as(t, "bank-a")
		sub := own.subscribe(t, newBank(t), nil)
		if _, err := own.PauseSubscription(t.Context(), &notifierv1.PauseSubscriptionRequest{Id: sub.GetId()}); err != nil {
			t.Fatal(err)
		}
		n.as(t, "publisher").publish(t, fact(t, "emp_1", 1, nil))
		if _, err := own.DeleteSubscription(t.Context(), &notifierv1.DeleteSubscriptionRequest{Id: sub.GetId()}); err != nil {
			t.Fatal(err)
		}
		list := own.deliveries(t, &notifierv1.ListDeliveriesRequest{Status: notifierv1.Delivery_CANCELLED})
		if len(list) != 1 || list[0].GetSubscriptionId() != sub.GetId() {
			t.Fatalf("%v", list)
		}
		_, err := own.RetryDelivery(t.Context(), &notifierv1.RetryDeliveryRequest{Id: list[0].GetId()})
		wantCode(t, "retry", err, codes.FailedPrecondition)
		b, err := own.GetBalance(t.Context(), &notifierv1.GetBalanceRequest{SubscriptionId: sub.GetId()})
		if err != nil || b.GetFannedOut() != 1 || b.GetCancelled() != 1 || b.GetPending() != 0 {
			t.Errorf("%v, %v", b, err)
		}
		_, err = own.GetBalance(t.Context(), &notifierv1.GetBalanceRequest{SubscriptionId: id.New("sub")})
		wantCode(t, "balance of nothing", err, codes.NotFound)
		_, err = own.CreateReplay(t.Context(), &notifierv1.CreateReplayRequest{Replay: &notifierv1.Replay{SubscriptionId: sub.GetId()}})
		wantCode(t, "replay", err, codes.NotFound)
	})
}

// A bank sees of the feed what its subscriptions match, page by page, and is told when there is more.
func TestABankReadsWhatConcernsIt(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, own, other, admin := n.as(t, "publisher"), n.as(t, "bank-a"), n.as(t, "bank-b"), n.as(t, "admin")
		own.subscribe(t, newBank(t), func(s *notifierv1.Subscription) { s.Filter = `event.data.employee.country == "DE"` })
		var mine, all []string
		for i := range 30 {
			e := fact(t, fmt.Sprintf("emp_%d", i), 1, nil)
			if i%3 == 0 {
				mine = append(mine, e.GetId())
			} else {
				set("employee.country", "FR")(e)
			}
			all = append(all, e.GetId())
			pub.publish(t, e)
		}
		for _, size := range []int32{1, 4, 100} {
			if got, _ := own.feed(t, &notifierv1.ListEventsRequest{PageSize: size}); !slices.Equal(got, mine) {
				t.Errorf("%d a page: %v, want %v", size, got, mine)
			}
			if got, _ := admin.feed(t, &notifierv1.ListEventsRequest{PageSize: size}); !slices.Equal(got, all) {
				t.Errorf("%d a page: %v, want %v", size, got, all)
			}
		}
		if got, _ := other.feed(t, &notifierv1.ListEventsRequest{}); len(got) != 0 {
			t.Errorf("a bank without a subscription sees %v", got)
		}
		if _, err := own.GetEvent(t.Context(), &notifierv1.GetEventRequest{Id: mine[0]}); err != nil {
			t.Error(err)
		}
		_, err := own.GetEvent(t.Context(), &notifierv1.GetEventRequest{Id: all[1]})
		wantCode(t, "another country's event", err, codes.NotFound)
		_, err = admin.GetEvent(t.Context(), &notifierv1.GetEventRequest{Id: id.New("evt")})
		wantCode(t, "no such event", err, codes.NotFound)
		// A follower goes on from where it was.
		_, token := own.feed(t, &notifierv1.ListEventsRequest{})
		late := fact(t, "emp_late", 1, nil)
		pub.publish(t, late)
		if got, _ := own.feed(t, &notifierv1.ListEventsRequest{PageToken: token}); !slices.Equal(got, []string{late.GetId()}) {
			t.Errorf("a follower sees %v", got)
		}
		if got, _ := admin.feed(t, &notifierv1.ListEventsRequest{EmployeeId: "emp_3"}); len(got) != 1 {
			t.Errorf("an employee's: %v", got)
		}
		if got, _ := admin.feed(t, &notifierv1.ListEventsRequest{Type: "employee.updated"}); len(got) != 0 {
			t.Errorf("of another type: %v", got)
		}
		for name, req := range map[string]*notifierv1.ListEventsRequest{
			"no token": {PageToken: "AAAA"}, "no type": {Type: "nonsense"}, "a negative size": {PageSize: -1},
		} {
			_, err := admin.ListEvents(t.Context(), req)
			wantCode(t, name, err, codes.InvalidArgument)
		}
	})
}

// EraseEmployee leaves the fact, and takes the person.
func TestEraseEmployee(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, own, admin := n.as(t, "publisher"), n.as(t, "bank-a"), n.as(t, "admin")
		sub := own.subscribe(t, newBank(t), nil)
		delivered, held := fact(t, "emp_gone", 1, nil), fact(t, "emp_gone", 2, nil)
		pub.publish(t, delivered)
		balanced(t, own, sub.GetId(), 1)
		if _, err := own.PauseSubscription(t.Context(), &notifierv1.PauseSubscriptionRequest{Id: sub.GetId()}); err != nil {
			t.Fatal(err)
		}
		pub.publish(t, held, fact(t, "emp_stays", 1, nil))
		for _, role := range []string{"publisher", "viewer", "bank-a"} {
			_, err := n.as(t, role).EraseEmployee(t.Context(), &notifierv1.EraseEmployeeRequest{EmployeeId: "emp_gone"})
			wantCode(t, role, err, codes.PermissionDenied)
		}
		for _, id := range []string{"", "a/b", "emp_\u202egone", "emp gone", strings.Repeat("x", 65)} {
			_, err := admin.EraseEmployee(t.Context(), &notifierv1.EraseEmployeeRequest{EmployeeId: id})
			wantField(t, "erase "+id, err, codes.InvalidArgument, "employee_id")
			if id == "" {
				continue
			}
			for field, call := range map[string]func() error{
				"subscription_id": func() error {
					_, err := admin.ListDeliveries(t.Context(), &notifierv1.ListDeliveriesRequest{SubscriptionId: id})
					return err
				},
				"event_id": func() error {
					_, err := admin.ListDeliveries(t.Context(), &notifierv1.ListDeliveriesRequest{EventId: id})
					return err
				},
				"employee_id": func() error {
					_, err := admin.ListEvents(t.Context(), &notifierv1.ListEventsRequest{EmployeeId: id})
					return err
				},
				"resource": func() error {
					_, err := admin.ListAuditEntries(t.Context(), &notifierv1.ListAuditEntriesRequest{Resource: id})
					return err
				},
			} {
				wantField(t, "list with "+id, call(), codes.InvalidArgument, field)
			}
		}
		got, err := admin.EraseEmployee(t.Context(), &notifierv1.EraseEmployeeRequest{EmployeeId: "emp_gone"})
		if err != nil || got.GetEventsErased() != 2 || got.GetDeliveriesCancelled() != 1 {
			t.Errorf("%v, %v", got, err)
		}
		for _, e := range []*notifierv1.Event{delivered, held} {
			if got, err := admin.GetEvent(t.Context(), &notifierv1.GetEventRequest{Id: e.GetId()}); err != nil || !got.GetErased() || got.Data != nil || got.GetEmployeeId() != "emp_gone" {
				t.Errorf("%v, %v", got, err)
			}
		}
		list := own.deliveries(t, &notifierv1.ListDeliveriesRequest{EmployeeId: "emp_gone"})
		if len(list) != 2 || list[0].GetStatus() != notifierv1.Delivery_CANCELLED || list[1].GetStatus() != notifierv1.Delivery_DELIVERED {
			t.Errorf("%v", list)
		}
		_, err = own.RetryDelivery(t.Context(), &notifierv1.RetryDeliveryRequest{Id: list[1].GetId()})
		wantCode(t, "retry", err, codes.FailedPrecondition)
		entries, err := admin.ListAuditEntries(t.Context(), &notifierv1.ListAuditEntriesRequest{Resource: "emp_gone"})
		if err != nil || len(entries.GetAuditEntries()) != 1 || entries.GetAuditEntries()[0].GetAction() != "EraseEmployee" || entries.GetAuditEntries()[0].GetActor() != "admin" {
			t.Errorf("%v, %v", entries, err)
		}
		code, answer := admin.rest(t, "POST", "/v1/employees/emp_gone:erase", "{}")
		if code != 200 || strings.Contains(fmt.Sprint(answer), "2") {
			t.Errorf("again, over REST: %d %v", code, answer)
		}
	})
}

// What is queued in memory is not sent once EraseEmployee has answered; what is under way then may end, and is recorded.
func TestEraseEmployeeWhileQueued(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, own, admin := n.as(t, "publisher"), n.as(t, "bank-a"), n.as(t, "admin")
		b := newBank(t)
		own.subscribe(t, b, func(s *notifierv1.Subscription) { s.MaxInFlight = 1 })
		asked, goOn := make(chan struct{}, 10), make(chan struct{})
		answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked <- struct{}{}
			<-goOn
			b.ServeHTTP(w, r)
		})
		b.answer.Store(&answer)
		pub.publish(t, fact(t, "emp_under_way", 1, nil))
		<-asked
		pub.publish(t, fact(t, "emp_queued", 1, nil))
		pub.publish(t, fact(t, "emp_stays", 1, nil))
		for _, employee := range []string{"emp_under_way", "emp_queued"} {
			if _, err := admin.EraseEmployee(t.Context(), &notifierv1.EraseEmployeeRequest{EmployeeId: employee}); err != nil {
				t.Fatal(err)
			}
		}
		close(goOn)
		eventually(t, "what stays is sent", 10*time.Second, func() bool {
			return slices.ContainsFunc(b.seen(), func(e webhook.Event) bool { return strings.Contains(string(e.Data), "emp_stays") })
		})
		for _, e := range b.seen() {
			if strings.Contains(string(e.Data), "emp_queued") {
				t.Errorf("sent after it was erased: %s", e.Data)
			}
		}
		eventually(t, "the attempt under way", 5*time.Second, func() bool {
			list := own.deliveries(t, &notifierv1.ListDeliveriesRequest{EmployeeId: "emp_under_way"})
			return len(list) == 1 && list[0].GetStatus() == notifierv1.Delivery_CANCELLED && list[0].GetAttemptCount() == 1
		})
	})
}
