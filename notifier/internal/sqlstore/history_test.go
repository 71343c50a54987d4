package sqlstore_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/notifier/internal/ingest"
	"hirewire.dev/platform/id"
)

// subscribe makes a subscription of an owner and gives its id.
func (s opened) subscribe(t *testing.T, owner string) string {
	t.Helper()
	r := record(id.New("name"))
	r.Owner = owner
	if _, err := s.Create(t.Context(), r, nil, access.Request{}, entry(r.ID)); err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func employeeEvent(employee string, version int) *event.Event {
	e := event.New(id.New("evt"), "employee.updated", now(), map[string]any{"employee": map[string]any{"id": employee, "version": version, "given_name": "Zoë"}})
	return &e
}

// publish stores events with a delivery to each of the subscriptions, a moment ago: they are due even where reading the clock
// has just moved it back.
func (s opened) publish(t *testing.T, to []string, events ...*event.Event) {
	t.Helper()
	mark, err := s.Mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := &ingest.Batch{Epoch: mark.Epoch, At: s.Now().Add(-100 * time.Millisecond), Calls: []ingest.Call{{Events: len(events), Deliveries: len(events) * len(to)}}, Events: events}
	for i := range events {
		b.Sums = append(b.Sums, events[i].Sum())
		for _, sub := range to {
			b.Deliveries = append(b.Deliveries, ingest.NewDelivery{ID: id.New("dlv"), Event: i, SubscriptionID: sub, Ordered: true})
		}
	}
	if stored, err := s.Publish(t.Context(), b); err != nil || !stored || b.Calls[0].Err != nil {
		t.Fatal(stored, err, b.Calls[0].Err)
	}
}

// finish makes one attempt of every due delivery of a subscription, which ends as the function says.
func (s opened) finish(t *testing.T, sub string, how func(delivery.Delivery) (delivery.Status, delivery.Attempt)) {
	t.Helper()
	const holder = 77 << 32
	if err := s.Enter(t.Context(), "test", holder); err != nil {
		t.Fatal(err)
	}
	for token := int64(holder + 1); ; token++ {
		claimed, _, err := s.Claim(t.Context(), token, []delivery.Want{{SubscriptionID: sub, Room: 100, Ordered: true}})
		if err != nil {
			t.Fatal(err)
		}
		if len(claimed) == 0 {
			break
		}
		var batch []delivery.Finished
		for _, l := range claimed {
			status, a := how(l.Delivery)
			a.Number, a.StartedAt, a.Duration = l.Attempts+1, now(), 3*time.Millisecond
			batch = append(batch, delivery.Finished{Leased: l, Attempt: a, Status: status, Wait: time.Hour, Ordered: true})
		}
		if _, _, err := s.Finish(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Leave(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
}

func delivered(delivery.Delivery) (delivery.Status, delivery.Attempt) {
	return delivery.Delivered, delivery.Attempt{StatusCode: 200, Outcome: delivery.OutcomeDelivered, Snippet: "ok"}
}

func dead(delivery.Delivery) (delivery.Status, delivery.Attempt) {
	return delivery.Dead, delivery.Attempt{StatusCode: 500, Outcome: delivery.OutcomeRejected, Error: "status 500", Snippet: "Zoë is unknown"}
}

func failed(delivery.Delivery) (delivery.Status, delivery.Attempt) {
	return delivery.Pending, delivery.Attempt{StatusCode: 503, Outcome: delivery.OutcomeThrottled, Error: "status 503"}
}

func (s opened) balance(t *testing.T, sub string, want history.Balance) {
	t.Helper()
	got, err := s.Balance(t.Context(), sub, nil)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("balance of %s: %v (-want +got):\n%s", sub, err, diff)
	}
	if !got.Balanced() {
		t.Errorf("%+v does not add up", got)
	}
}

func TestListsOfDeliveries(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		a, b, other, third := s.subscribe(t, "bank-a"), s.subscribe(t, "bank-a"), s.subscribe(t, "bank-b"), s.subscribe(t, "bank-d")
		var events []*event.Event
		for i := range 6 {
			events = append(events, employeeEvent(fmt.Sprintf("emp_%d", i), 1))
		}
		s.publish(t, []string{a, b, other}, events...)
		s.finish(t, a, delivered)
		s.finish(t, b, dead)
		ofNobody := event.New(id.New("evt"), "webhook.test", now(), map[string]any{})
		s.publish(t, []string{third}, &ofNobody)
		ids := func(q history.DeliveryQuery) []string {
			t.Helper()
			var all []string
			for {
				list, err := s.Deliveries(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range list {
					if len(all) > 0 && d.ID >= all[len(all)-1] {
						t.Errorf("%+v: not newest first", q)
					}
					all = append(all, d.ID)
				}
				if len(list) < q.Limit {
					return all
				}
				q.Before = list[len(list)-1].ID
			}
		}
		bankA, bankB, nobody := "bank-a", "bank-b", "bank-c"
		for name, tt := range map[string]struct {
			q    history.DeliveryQuery
			want int
		}{
			"all":                      {history.DeliveryQuery{}, 19},
			"one owner's":              {history.DeliveryQuery{Owner: &bankA}, 12},
			"the other's":              {history.DeliveryQuery{Owner: &bankB}, 6},
			"nobody's":                 {history.DeliveryQuery{Owner: &nobody}, 0},
			"a subscription":           {history.DeliveryQuery{SubscriptionID: a}, 6},
			"another's subscription":   {history.DeliveryQuery{SubscriptionID: a, Owner: &bankB}, 0},
			"an event":                 {history.DeliveryQuery{EventID: events[2].ID}, 3},
			"an event, one owner's":    {history.DeliveryQuery{EventID: events[2].ID, Owner: &bankA}, 2},
			"no such event":            {history.DeliveryQuery{EventID: "evt_0"}, 0},
			"an event of no employee":  {history.DeliveryQuery{EventID: ofNobody.ID}, 1},
			"an employee":              {history.DeliveryQuery{EmployeeID: "emp_3"}, 3},
			"pending":                  {history.DeliveryQuery{Status: delivery.Pending}, 7},
			"delivered":                {history.DeliveryQuery{Status: delivery.Delivered}, 6},
			"dead":                     {history.DeliveryQuery{Status: delivery.Dead}, 6},
			"dead, of a subscription":  {history.DeliveryQuery{Status: delivery.Dead, SubscriptionID: b}, 6},
			"dead, of another":         {history.DeliveryQuery{Status: delivery.Dead, SubscriptionID: a}, 0},
			"cancelled":                {history.DeliveryQuery{Status: delivery.Cancelled}, 0},
			"pending, of one owner":    {history.DeliveryQuery{Status: delivery.Pending, Owner: &bankA}, 0},
			"delivered to an employee": {history.DeliveryQuery{Status: delivery.Delivered, EmployeeID: "emp_1"}, 1},
		} {
			for _, size := range []int{1, 5, 100} {
				tt.q.Limit = size
				if got := len(ids(tt.q)); got != tt.want {
					t.Errorf("%s, %d a page: %d, want %d", name, size, got, tt.want)
				}
			}
		}
		s.balance(t, a, history.Balance{FannedOut: 6, Delivered: 6})
		s.balance(t, b, history.Balance{FannedOut: 6, Dead: 6})
		s.balance(t, "", history.Balance{FannedOut: 19, Delivered: 6, Dead: 6, Pending: 7})
		if got, err := s.Balance(t.Context(), "", &bankB); err != nil || got != (history.Balance{FannedOut: 6, Pending: 6}) {
			t.Errorf("of bank b: %+v, %v", got, err)
		}
		if got, err := s.Balance(t.Context(), a, &bankB); err != nil || got != (history.Balance{}) {
			t.Errorf("of a for bank b: %+v, %v", got, err)
		}
	})
}

func TestADeliveryWithItsAttempts(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		sub := s.subscribe(t, "bank-a")
		e := employeeEvent("emp_1", 1)
		s.publish(t, []string{sub}, e)
		s.finish(t, sub, failed)
		list, err := s.Deliveries(t.Context(), history.DeliveryQuery{Limit: 10})
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		dlv := list[0].ID
		d, attempts, err := s.Delivery(t.Context(), dlv, nil)
		if err != nil || d.Status != delivery.Pending || d.Attempts != 1 || len(attempts) != 1 || attempts[0].StatusCode != 503 || d.DueAt.Before(now().Add(time.Minute)) {
			t.Errorf("after a failure: %+v, %+v, %v", d, attempts, err)
		}
		// A retry of a pending one makes it due, and counts nothing anew.
		if d, err := s.Retry(t.Context(), dlv, nil, entry(dlv)); err != nil || d.DueAt.After(s.Now()) || d.Attempts != 1 {
			t.Errorf("retry of a pending one: %+v, %v", d, err)
		}
		s.finish(t, sub, dead)
		d, attempts, err = s.Delivery(t.Context(), dlv, nil)
		if err != nil || d.Status != delivery.Dead || d.FinishedAt.IsZero() || len(attempts) != 2 || attempts[1].Number != 2 || attempts[1].Snippet != "Zoë is unknown" {
			t.Errorf("after death: %+v, %+v, %v", d, attempts, err)
		}
		s.balance(t, sub, history.Balance{FannedOut: 1, Dead: 1})
		// A retry of an ended one takes it up again: the same delivery, the attempts kept.
		for range 2 {
			d, err = s.Retry(t.Context(), dlv, nil, entry(dlv))
			if err != nil || d.ID != dlv || d.Status != delivery.Pending || d.Attempts != 2 || d.DueAt.After(s.Now()) {
				t.Errorf("retry of a dead one: %+v, %v", d, err)
			}
		}
		s.balance(t, sub, history.Balance{FannedOut: 1, Pending: 1})
		s.finish(t, sub, delivered)
		d, attempts, err = s.Delivery(t.Context(), dlv, nil)
		if err != nil || d.Status != delivery.Delivered || len(attempts) != 3 || attempts[2].Number != 3 {
			t.Errorf("at last: %+v, %+v, %v", d, attempts, err)
		}
		s.balance(t, sub, history.Balance{FannedOut: 1, Delivered: 1})

		owner, stranger := "bank-a", "bank-b"
		if _, _, err := s.Delivery(t.Context(), dlv, &owner); err != nil {
			t.Errorf("its owner: %v", err)
		}
		if _, _, err := s.Delivery(t.Context(), dlv, &stranger); !errors.Is(err, history.ErrNotFound) {
			t.Errorf("a stranger: %v", err)
		}
		if _, err := s.Retry(t.Context(), dlv, &stranger, entry(dlv)); !errors.Is(err, history.ErrNotFound) {
			t.Errorf("a retry by a stranger: %v", err)
		}
		if _, _, err := s.Delivery(t.Context(), id.New("dlv"), nil); !errors.Is(err, history.ErrNotFound) {
			t.Errorf("no such delivery: %v", err)
		}
		if entries, err := s.AuditEntries(t.Context(), audit.Query{Resource: dlv, Limit: 10}); err != nil || len(entries) != 3 {
			t.Errorf("%d audit entries, %v", len(entries), err)
		}
	})
}

// Many at once retry the same delivery: one of them finds it, and nothing is counted twice.
func TestConcurrentRetries(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		sub := s.subscribe(t, "bank-a")
		s.publish(t, []string{sub}, employeeEvent("emp_1", 1))
		s.finish(t, sub, dead)
		list, err := s.Deliveries(t.Context(), history.DeliveryQuery{Limit: 10})
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		errs := make(chan error)
		for range 10 {
			go func() {
				_, err := s.Retry(t.Context(), list[0].ID, nil, entry(list[0].ID))
				errs <- err
			}()
		}
		for range 10 {
			if err := <-errs; err != nil && !errors.Is(err, history.ErrNotFound) {
				t.Error(err)
			}
		}
		s.balance(t, sub, history.Balance{FannedOut: 1, Pending: 1})
	})
}

func TestEraseEmployee(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		a, b := s.subscribe(t, "bank-a"), s.subscribe(t, "bank-b")
		gone, stays := employeeEvent("emp_gone", 1), employeeEvent("emp_stays", 1)
		second := employeeEvent("emp_gone", 2)
		s.publish(t, []string{a, b}, gone, stays, second)
		s.finish(t, a, failed)
		s.finish(t, b, dead)
		erased, err := s.Erase(t.Context(), "emp_gone", entry("emp_gone"))
		if err != nil || erased != (history.Erased{Events: 2, Cancelled: 2}) {
			t.Errorf("%+v, %v", erased, err)
		}
		if erased, err := s.Erase(t.Context(), "emp_gone", entry("emp_gone")); err != nil || erased != (history.Erased{}) {
			t.Errorf("again: %+v, %v", erased, err)
		}
		for _, e := range []*event.Event{gone, second} {
			if got, err := s.Event(t.Context(), e.ID); err != nil || got.Payload != nil || got.EmployeeID != "emp_gone" || got.Version != e.Version {
				t.Errorf("%+v, %v", got, err)
			}
		}
		if got, err := s.Event(t.Context(), stays.ID); err != nil || string(got.Payload) != string(stays.Payload) {
			t.Errorf("another employee's: %+v, %v", got, err)
		}
		list, err := s.Deliveries(t.Context(), history.DeliveryQuery{EmployeeID: "emp_gone", Limit: 10})
		if err != nil || len(list) != 4 {
			t.Fatal(list, err)
		}
		for _, d := range list {
			_, attempts, err := s.Delivery(t.Context(), d.ID, nil)
			if err != nil {
				t.Error(err)
			}
			for _, a := range attempts {
				if a.Snippet != "" || a.Error != "" || a.StatusCode == 0 {
					t.Errorf("%s: %+v", d.Status, a)
				}
			}
			if _, err := s.Retry(t.Context(), d.ID, nil, entry(d.ID)); !errors.Is(err, history.ErrErased) {
				t.Errorf("retry of an erased event: %v", err)
			}
		}
		s.balance(t, a, history.Balance{FannedOut: 3, Pending: 1, Cancelled: 2})
		s.balance(t, b, history.Balance{FannedOut: 3, Dead: 3})
		// No copy is left anywhere in the tables.
		for _, table := range []string{"events", "deliveries", "finished_deliveries", "attempts"} {
			rows, err := s.db.Queryx(`SELECT * FROM ` + table)
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				row := map[string]any{}
				if err := rows.MapScan(row); err != nil {
					t.Fatal(err)
				}
				text := fmt.Sprintf("%s", row)
				if row["employee_id"] != "emp_stays" && table != "attempts" && containsAny(text, "Zoë") {
					t.Errorf("%s: %s", table, text)
				}
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// What was under way when it was erased is recorded, but for what the receiver answered; and the erasure can be found.
func TestEraseWhileUnderWay(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		sub := s.subscribe(t, "bank-a")
		s.publish(t, []string{sub}, employeeEvent("emp_1", 1), employeeEvent("emp_2", 1), employeeEvent("emp_stays", 1))
		for i, status := range []delivery.Status{delivery.Delivered, delivery.Pending} {
			employee := fmt.Sprintf("emp_%d", i+1)
			var before, after []delivery.Erasure
			var err error
			if before, err = s.Erasures(t.Context(), 0); err != nil || len(before) != i {
				t.Fatal(before, err)
			}
			const holder = 78 << 32
			if err := s.Enter(t.Context(), "test", holder); err != nil {
				t.Fatal(err)
			}
			claimed, _, err := s.Claim(t.Context(), holder+int64(i)+1, []delivery.Want{{SubscriptionID: sub, Room: 1, Ordered: true}})
			if err != nil || len(claimed) != 1 || claimed[0].EmployeeID != employee {
				t.Fatal(claimed, err)
			}
			if _, err := s.Erase(t.Context(), employee, entry(employee)); err != nil {
				t.Fatal(err)
			}
			end := delivery.Finished{Leased: claimed[0], Attempt: delivery.Attempt{
				Number: 1, StartedAt: now(), Duration: time.Second, StatusCode: 207, Outcome: delivery.OutcomeDelivered, Error: "Zoë", Snippet: "Zoë",
			}, Status: status, Ordered: true}
			for range 2 {
				if held, _, err := s.Finish(t.Context(), []delivery.Finished{end}); err != nil || held[0] {
					t.Fatal(held, err)
				}
			}
			d, attempts, err := s.Delivery(t.Context(), claimed[0].ID, nil)
			if err != nil || d.Status != delivery.Cancelled || d.Attempts != 1 {
				t.Errorf("%+v, %v", d, err)
			}
			want := []delivery.Attempt{{Number: 1, StartedAt: end.Attempt.StartedAt, Duration: time.Second, StatusCode: 207, Outcome: delivery.OutcomeDelivered}}
			if diff := cmp.Diff(want, attempts); diff != "" {
				t.Errorf("attempts (-want +got):\n%s", diff)
			}
			if after, err = s.Erasures(t.Context(), 0); err != nil || len(after) != i+1 || after[i].EmployeeID != employee || after[i].Position != claimed[0].Position {
				t.Fatal(after, err)
			}
			if newer, err := s.Erasures(t.Context(), after[i].Number); err != nil || len(newer) != 0 {
				t.Error(newer, err)
			}
		}
		s.balance(t, sub, history.Balance{FannedOut: 3, Pending: 1, Cancelled: 2})
	})
}
