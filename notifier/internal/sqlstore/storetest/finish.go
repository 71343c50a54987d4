package storetest

import (
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/ingest"
)

func finishEnds(f *fixture) {
	b := one(subA, newEvent("emp_1"), newEvent("emp_2"), newEvent("emp_3"))
	f.publish(b)
	gone := end(leased(b, 2), delivery.Cancelled, 0)
	gone.Attempt = delivery.Attempt{}
	batch := []delivery.Finished{end(leased(b, 0), delivery.Delivered, 0), end(leased(b, 1), delivery.Dead, 0), gone}
	if held, _ := f.finish(batch...); slices.Contains(held, false) {
		f.Errorf("held %v", held)
	}
	type row struct {
		ID      string `db:"id"`
		Status  string `db:"status"`
		Tried   int    `db:"attempts"`
		Code    int    `db:"status_code"`
		Outcome string `db:"outcome"`
		Error   string `db:"error"`
		Snippet string `db:"snippet"`
		Micros  int64  `db:"duration_us"`
		Started bool   `db:"started"`
	}
	var got []row
	if err := f.db.SelectContext(f.Context(), &got, `SELECT id, status, attempts, status_code, outcome, error, snippet, duration_us,
		started_at IS NOT NULL AS started FROM finished_deliveries ORDER BY id`); err != nil {
		f.Fatal(err)
	}
	want := []row{
		{b.Deliveries[0].ID, "DELIVERED", 1, 200, "delivered", "", "", 3000, true},
		{b.Deliveries[1].ID, "DEAD", 1, 500, "rejected", `500 "oh\no"`, "{oops}, sorry\\", 3000, true},
		{b.Deliveries[2].ID, "CANCELLED", 0, 0, "", "", "", 0, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		f.Errorf("history (-want +got):\n%s", diff)
	}
	if n := f.count(`SELECT count(*) FROM finished_deliveries WHERE event_id = $1 AND position = 1 AND subscription_id = $2 AND employee_id = 'emp_1' AND started_at = $3`,
		b.Events[0].ID, subA, batch[0].Attempt.StartedAt); n != 1 {
		f.Error("the history lacks what the delivery was of")
	}
	if got := f.rows(); got != "3 0 3 0 3" {
		f.Errorf("rows %s", got)
	}
	f.balanced()
	if held, _ := f.finish(batch...); slices.Contains(held, true) {
		f.Errorf("twice: held %v", held)
	}
	if got := f.rows(); got != "3 0 3 0 3" {
		f.Errorf("rows after the second time %s", got)
	}
	f.balanced()
}

func finishRetries(f *fixture) {
	b := one(subA, newEvent("emp_1"))
	f.publish(b)
	failed := end(leased(b, 0), delivery.Pending, time.Hour)
	failed.Base = 1 // it does not count
	if held, _ := f.finish(failed); !held[0] {
		f.Error("not held")
	}
	if held, _ := f.finish(failed); held[0] {
		f.Error("held twice")
	}
	want := delivery.Want{SubscriptionID: subA, Room: 10, Ordered: true}
	if ids, _, _ := f.claim(token, want); len(ids) > 0 {
		f.Error("claimed before it was due")
	}
	if n := f.count(`SELECT count(*) FROM deliveries WHERE attempts = 1 AND lease = 0 AND due_at > $1`, f.Now().Add(50*time.Minute)); n != 1 {
		f.Error("not due in an hour")
	}
	f.dueNow()
	_, claimed, _ := f.claim(token, want)
	if len(claimed) != 1 || claimed[0].Attempts != 1 || claimed[0].Base != 1 || claimed[0].Event == nil || string(claimed[0].Event.Payload) != string(b.Events[0].Payload) {
		f.Fatalf("claimed %+v", claimed)
	}
	if diff := cmp.Diff(*b.Events[0], *claimed[0].Event, cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "ReceivedAt" }, cmp.Ignore())); diff != "" {
		f.Errorf("the event (-published +claimed):\n%s", diff)
	}
	f.finish(end(claimed[0], delivery.Dead, 0))
	if n := f.count(`SELECT count(*) FROM attempts WHERE delivery_id = $1 AND number = 1 AND status_code = 500 AND outcome = 'rejected'`, b.Deliveries[0].ID); n != 1 {
		f.Error("the first attempt is not recorded")
	}
	if got := f.rows(); got != "1 0 1 1 1" {
		f.Errorf("rows %s", got)
	}
	f.balanced()
}

func finishLost(f *fixture) {
	b := one(subA, newEvent("emp_1"), newEvent("emp_2"))
	f.publish(b)
	if _, err := f.Leave(f.Context(), token); err != nil {
		f.Fatal(err)
	}
	f.enter(other)
	f.claim(other, delivery.Want{SubscriptionID: subA, Room: 1, Ordered: true})
	before := f.rows()
	held, _ := f.finish(end(leased(b, 0), delivery.Delivered, 0), end(leased(b, 1), delivery.Pending, time.Hour))
	if slices.Contains(held, true) {
		f.Errorf("held %v", held)
	}
	if got := f.rows(); got != before {
		f.Errorf("rows %s, before %s", got, before)
	}
	f.balanced()
}

func finishWakes(f *fixture) {
	b := one(subA, newEvent("emp_1"), newEvent("emp_1"), newEvent("emp_1"), newEvent("emp_2"))
	f.publish(b)
	want := delivery.Want{SubscriptionID: subA, Room: 10, Ordered: true}
	if ids, _, _ := f.claim(token, want); len(ids) != 0 {
		f.Errorf("claimed %v behind the first in line", ids)
	}
	if _, woken := f.finish(end(leased(b, 3), delivery.Delivered, 0)); len(woken) != 0 {
		f.Errorf("woken %v by another employee's", woken)
	}
	if _, woken := f.finish(end(leased(b, 0), delivery.Delivered, 0)); !slices.Equal(woken, []string{subA}) {
		f.Errorf("woken %v, want %s", woken, subA)
	}
	ids, claimed, _ := f.claim(token, want)
	if !slices.Equal(ids, []string{b.Deliveries[1].ID}) {
		f.Fatalf("claimed %v, want the second", ids)
	}
	if _, woken := f.finish(end(claimed[0], delivery.Dead, 0)); len(woken) != 1 {
		f.Error("what ends dead wakes the next, too")
	}
	if ids, _, _ := f.claim(token, want); !slices.Equal(ids, []string{b.Deliveries[2].ID}) {
		f.Errorf("claimed %v, want the third", ids)
	}

	unordered := one(subB, newEvent("emp_1"), newEvent("emp_1"))
	for i := range unordered.Deliveries {
		unordered.Deliveries[i].Ordered = false
	}
	unordered.Deliveries[1].Lease, unordered.Deliveries[1].Wait = false, time.Hour
	f.publish(unordered)
	done := end(leased(unordered, 0), delivery.Delivered, 0)
	done.Ordered = false
	if _, woken := f.finish(done); len(woken) != 0 {
		f.Error("woke what waits for its time, and for nothing else")
	}
}

// finishWakesAgain: what was taken up again waits in line as what is new does, though it has been tried.
func finishWakesAgain(f *fixture) {
	b := one(subA, newEvent("emp_1"), newEvent("emp_1"), newEvent("emp_1"))
	b.Token = 0
	f.publish(b)
	f.dueNow()
	if _, err := f.db.ExecContext(f.Context(), `UPDATE deliveries SET attempts = 2, base = 2`); err != nil {
		f.Fatal(err)
	}
	want := delivery.Want{SubscriptionID: subA, Room: 10, Ordered: true}
	for i := range b.Deliveries {
		ids, claimed, _ := f.claim(token, want)
		if !slices.Equal(ids, []string{b.Deliveries[i].ID}) {
			f.Fatalf("claimed %v, want number %d of its line", ids, i)
		}
		f.finish(end(claimed[0], delivery.Delivered, 0))
	}
}

func release(f *fixture) {
	b := one(subA, newEvent("emp_1"), newEvent("emp_2"))
	f.publish(b)
	err := f.Release(f.Context(), []delivery.Released{
		{ID: b.Deliveries[0].ID, Token: token},
		{ID: b.Deliveries[1].ID, Token: token, Wait: time.Hour},
	})
	if err != nil {
		f.Fatal(err)
	}
	want := delivery.Want{SubscriptionID: subA, Room: 10, Ordered: true}
	if ids, _, _ := f.claim(token, want); !slices.Equal(ids, []string{b.Deliveries[0].ID}) {
		f.Errorf("claimed %v, want the one that is due", ids)
	}
	if err := f.Release(f.Context(), []delivery.Released{{ID: b.Deliveries[0].ID, Token: other}}); err != nil {
		f.Fatal(err)
	}
	if ids, _, _ := f.claim(token, want); len(ids) != 0 {
		f.Error("released by who does not hold it")
	}
	if b.Deliveries[0].Fate != ingest.Leased {
		f.Error("not leased")
	}
}
