package storetest

import (
	"slices"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/ingest"
)

func leaseEnds(f *fixture) {
	b := one(subA, newEvent("emp_1"), newEvent("emp_2"))
	f.publish(b)
	f.enter(other)
	theirs := one(subB, newEvent("emp_1"))
	theirs.Token = other
	f.publish(theirs)
	freed, err := f.Leave(f.Context(), token)
	if err != nil || freed != 2 {
		f.Errorf("left: %d freed, %v; want 2", freed, err)
	}
	if n := f.count(`SELECT count(*) FROM deliveries WHERE lease = $1`, other); n != 1 {
		f.Error("another's lease ended, too")
	}
	late := one(subA, newEvent("emp_3"))
	f.publish(late)
	if fates(late)[0] != ingest.Queued {
		f.Errorf("leased for a token that is gone: %v", fates(late))
	}
	if ids, _, _ := f.claim(token, delivery.Want{SubscriptionID: subA, Room: 9}); len(ids) != 0 {
		f.Error("claimed for a token that is gone")
	}
	if ids, _, _ := f.claim(other, delivery.Want{SubscriptionID: subA, Room: 9, Ordered: true}); len(ids) != 3 {
		f.Errorf("the other takes over %d, want 3", len(ids))
	}
	if freed, err := f.Leave(f.Context(), token); err != nil || freed != 0 {
		f.Errorf("left twice: %d freed, %v", freed, err)
	}
}

func leaseRenews(f *fixture) {
	f.enter(other)
	f.publish(one(subA, newEvent("emp_1")))
	lost, replicas, err := f.Renew(f.Context(), []int64{token, other, 9 << 32})
	if err != nil || !slices.Equal(lost, []int64{9 << 32}) || replicas != 2 {
		f.Errorf("renewed: lost %v, %d replicas, %v; want 9 lost, 2 replicas", lost, replicas, err)
	}
	if freed, err := f.Expire(f.Context(), time.Minute); err != nil || freed != 0 {
		f.Errorf("expired %d that are alive, %v", freed, err)
	}
	if _, err := f.db.ExecContext(f.Context(), `UPDATE leases SET seen_at = $1 WHERE holder = $2`, f.Now().Add(-2*time.Minute), token); err != nil {
		f.Fatal(err)
	}
	if freed, err := f.Expire(f.Context(), time.Minute); err != nil || freed != 1 {
		f.Errorf("expired: %d freed, %v; want 1", freed, err)
	}
	lost, replicas, err = f.Renew(f.Context(), []int64{token, other})
	if err != nil || !slices.Equal(lost, []int64{token}) || replicas != 1 {
		f.Errorf("renewed: lost %v, %d replicas, %v; want %d lost, 1 replica", lost, replicas, err, token)
	}
}

// leaseRestart: what a process that died had leased is another's once it has been silent for long enough.
func leaseRestart(f *fixture) {
	b := one(subA, newEvent("emp_1"), newEvent("emp_2"))
	f.publish(b)
	s := f.again()
	if err := s.Enter(f.Context(), "new", other); err != nil {
		f.Fatal(err)
	}
	wants := []delivery.Want{{SubscriptionID: subA, Room: 9, Ordered: true}}
	if claimed, _, err := s.Claim(f.Context(), other, wants); err != nil || len(claimed) != 0 {
		f.Errorf("claimed %d that are leased, %v", len(claimed), err)
	}
	if _, err := f.db.ExecContext(f.Context(), `UPDATE leases SET seen_at = $1 WHERE holder = $2`, f.Now().Add(-time.Minute), token); err != nil {
		f.Fatal(err)
	}
	if freed, err := s.Expire(f.Context(), 10*time.Second); err != nil || freed != 2 {
		f.Errorf("freed %d, %v; want 2", freed, err)
	}
	if claimed, _, err := s.Claim(f.Context(), other, wants); err != nil || len(claimed) != 2 {
		f.Errorf("claimed %d, %v; want 2", len(claimed), err)
	}
	if held, _ := f.finish(end(leased(b, 0), delivery.Delivered, 0)); held[0] {
		f.Error("who died still holds")
	}
}
