package storetest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
)

// queued publishes n events for subscriptions, each of another employee, and leases none.
func (f *fixture) queued(n int, subscriptions ...string) {
	f.Helper()
	for from := 0; from < n; from += 500 {
		var events []*event.Event
		for i := range min(n-from, 500) {
			events = append(events, newEvent(fmt.Sprint("emp_", from+i)))
		}
		b := batch([][]*event.Event{events}, subscriptions...)
		b.Token = 0
		f.publish(b)
	}
}

func claimDue(f *fixture) {
	f.queued(5, subA, subB)
	ids, claimed, more := f.claim(token, delivery.Want{SubscriptionID: subA, Room: 3, Ordered: true})
	if len(ids) != 3 || !slices.Equal(more, []string{subA}) {
		f.Errorf("claimed %d with more %v, want 3 and more", len(ids), more)
	}
	if !slices.IsSortedFunc(claimed, func(a, b delivery.Leased) int { return a.DueAt.Compare(b.DueAt) }) {
		f.Error("not the longest due first")
	}
	for _, l := range claimed {
		if l.SubscriptionID != subA || l.Token != token || l.Event == nil || l.EventID != l.Event.ID || l.Status != delivery.Pending || l.CreatedAt.IsZero() {
			f.Errorf("claimed %+v", l)
		}
	}
	ids, _, more = f.claim(token, delivery.Want{SubscriptionID: subA, Room: 3, Ordered: true}, delivery.Want{SubscriptionID: subB, Room: 10})
	if len(ids) != 7 || len(more) != 0 {
		f.Errorf("claimed %d with more %v, want the other 7", len(ids), more)
	}
	if n := f.count(`SELECT count(*) FROM deliveries WHERE lease = $1`, token); n != 10 {
		f.Errorf("%d are leased, want 10", n)
	}
	f.queued(1, subA)
	if ids, _, _ := f.claim(99<<32, delivery.Want{SubscriptionID: subA, Room: 3}); len(ids) != 0 {
		f.Error("claimed for a token that nobody holds")
	}
	if ids, _, _ := f.claim(token); len(ids) != 0 {
		f.Error("claimed for nobody")
	}
}

func claimLines(f *fixture) {
	b := one(subA, newEvent("emp_1"), newEvent("emp_1"), newEvent("emp_1"), newEvent("emp_2"), newEvent("emp_2"))
	b.Token = 0
	f.publish(b)
	f.dueNow()
	want := delivery.Want{SubscriptionID: subA, Room: 10, Ordered: true}
	ids, claimed, _ := f.claim(token, want)
	slices.Sort(ids)
	if diff := cmp.Diff([]string{b.Deliveries[0].ID, b.Deliveries[3].ID}, ids); diff != "" {
		f.Fatalf("claimed (-want +got):\n%s", diff)
	}
	if n := f.count(`SELECT count(*) FROM deliveries WHERE lease = 0 AND due_at > $1`, f.Now()); n != 3 {
		f.Errorf("%d of the others are put off, want 3", n)
	}
	// A first in line that is to be tried again in an hour holds the others for as long, within bounds.
	f.finish(end(claimed[0], delivery.Pending, time.Hour))
	if claimed[0].EmployeeID != "emp_1" {
		f.Fatal("not the first in line")
	}
	if _, err := f.db.ExecContext(f.Context(), `UPDATE deliveries SET due_at = $1 WHERE lease = 0 AND attempts = 0`, f.Now().Add(-time.Second)); err != nil {
		f.Fatal(err)
	}
	if ids, _, _ := f.claim(token, want); len(ids) != 0 {
		f.Errorf("claimed %v past a first in line that failed", ids)
	}
	if n := f.count(`SELECT count(*) FROM deliveries WHERE employee_id = 'emp_1' AND attempts = 0 AND due_at > $1`, f.Now().Add(4*time.Minute)); n != 2 {
		f.Errorf("%d are put off for long, want 2", n)
	}
	unordered := want
	unordered.Ordered = false
	f.dueNow()
	if ids, _, _ := f.claim(token, unordered); len(ids) != 4 {
		f.Errorf("claimed %d where order does not matter, want 4", len(ids))
	}
}

// claimYoung: what waits behind something under way is looked at again soon while it is young. What ends while it is stored
// does not wake it.
func claimYoung(f *fixture) {
	b := one(subA, newEvent("emp_1"), newEvent("emp_1"))
	f.publish(b)
	for _, c := range []struct {
		age, least, most time.Duration
	}{
		{100 * time.Millisecond, 0, 10 * time.Second},
		{time.Hour, 50 * time.Second, 70 * time.Second},
	} {
		now := f.Now()
		if _, err := f.db.ExecContext(f.Context(), `UPDATE deliveries SET due_at = $1, created_at = $2 WHERE lease = 0`, now.Add(-time.Millisecond), now.Add(-c.age)); err != nil {
			f.Fatal(err)
		}
		if ids, _, _ := f.claim(token, delivery.Want{SubscriptionID: subA, Room: 10, Ordered: true}); len(ids) != 0 {
			f.Errorf("claimed %v past one that is under way", ids)
		}
		if n := f.count(`SELECT count(*) FROM deliveries WHERE lease = 0 AND due_at > $1 AND due_at < $2`, now.Add(c.least), now.Add(c.most)); n != 1 {
			f.Errorf("after %v: not put off for %v to %v", c.age, c.least, c.most)
		}
	}
}

// claimRace: processes that claim at the same time never get the same row.
func claimRace(f *fixture) {
	const n, claimers = 2000, 4
	f.queued(n, subA)
	var mu sync.Mutex
	holders := map[string]int64{}
	var workers sync.WaitGroup
	for c := range claimers {
		mine := int64(100+c) << 32
		f.enter(mine)
		s := f.again()
		workers.Go(func() {
			for empty := 0; empty < 3; {
				claimed, _, err := s.Claim(f.Context(), mine, []delivery.Want{{SubscriptionID: subA, Room: 37, Ordered: true}})
				if err != nil {
					f.Error(err)
					return
				}
				if len(claimed) == 0 {
					empty++
				}
				mu.Lock()
				for _, l := range claimed {
					if before, taken := holders[l.ID]; taken {
						f.Errorf("%s claimed by %d and %d", l.ID, before, mine)
					}
					holders[l.ID] = mine
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if len(holders) != n {
		f.Errorf("%d claimed, want %d", len(holders), n)
	}
	for c := range claimers {
		mine := int64(100+c) << 32
		held := 0
		for _, h := range holders {
			if h == mine {
				held++
			}
		}
		if stored := f.count(`SELECT count(*) FROM deliveries WHERE lease = $1`, mine); stored != held {
			f.Errorf("claimer %d holds %d, the store says %d", mine, held, stored)
		}
	}
}

func claimErased(f *fixture) {
	f.queued(2, subA)
	if _, err := f.db.ExecContext(f.Context(), `UPDATE events SET payload = NULL WHERE employee_id = 'emp_1'`); err != nil {
		f.Fatal(err)
	}
	_, claimed, _ := f.claim(token, delivery.Want{SubscriptionID: subA, Room: 3})
	if len(claimed) != 2 {
		f.Fatalf("claimed %d, want 2", len(claimed))
	}
	for _, l := range claimed {
		if (l.Event == nil) != (l.EmployeeID == "emp_1") {
			f.Errorf("%s: event %v", l.EmployeeID, l.Event)
		}
	}
}

// claimAgainstFinish: while lines move on, nobody who has become first in line is put off. Four claimers and their ends race;
// a delivery that is put off by mistake would be missing when they have no more to claim for a while.
func claimAgainstFinish(f *fixture) {
	const lines, length, claimers = 20, 25, 4
	for range length {
		var events []*event.Event
		for l := range lines {
			events = append(events, newEvent(fmt.Sprint("emp_", l)))
		}
		b := one(subA, events...)
		b.Token = 0
		f.publish(b)
	}
	f.dueNow()
	var left atomic.Int64
	left.Store(lines * length)
	deadline := time.Now().Add(30 * time.Second)
	var workers sync.WaitGroup
	for c := range claimers {
		mine := int64(100+c) << 32
		f.enter(mine)
		s := f.again()
		workers.Go(func() {
			for n := int64(1); left.Load() > 0; n++ {
				claimed, _, err := s.Claim(f.Context(), mine+n, []delivery.Want{{SubscriptionID: subA, Room: 8, Ordered: true}})
				if err != nil {
					f.Error(err)
					return
				}
				var ends []delivery.Finished
				for _, l := range claimed {
					ends = append(ends, end(l, delivery.Delivered, 0))
				}
				if len(ends) > 0 {
					if _, _, err := s.Finish(f.Context(), ends); err != nil {
						f.Error(err)
						return
					}
				}
				left.Add(-int64(len(ends)))
				if time.Now().After(deadline) {
					f.Errorf("%d are left", left.Load())
					return
				}
			}
		})
	}
	began := time.Now()
	workers.Wait()
	if took := time.Since(began); took > 9*time.Second {
		f.Errorf("took %v: somebody was put off", took)
	}
	f.balanced()
}
