package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/ingest"
	"hirewire.dev/platform/id"
)

func publishStores(f *fixture) {
	e := newEvent("emp_1")
	e.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	b := batch([][]*event.Event{{e, newEvent("emp_2")}, {newEvent("emp_3")}}, subA, subB)
	f.publish(b)
	if got := fates(b); slices.ContainsFunc(got, func(fate ingest.Fate) bool { return fate != ingest.Leased }) {
		f.Errorf("fates %v, want all leased", got)
	}
	var got event.Event
	var sum []byte
	if err := f.db.QueryRowContext(f.Context(), `SELECT id, position, type, employee_id, version, occurred_at, received_at, payload, payload_sha256, traceparent
		FROM events WHERE id = $1`, e.ID).Scan(&got.ID, &got.Position, &got.Type, &got.EmployeeID, &got.Version, &got.OccurredAt, &got.ReceivedAt,
		&got.Payload, &sum, &got.Traceparent); err != nil {
		f.Fatal(err)
	}
	want := *e
	want.ReceivedAt, want.Position = b.At, 1
	if diff := cmp.Diff(want, got); diff != "" {
		f.Errorf("stored event (-want +got):\n%s", diff)
	}
	if hash := e.Sum(); string(sum) != string(hash[:]) {
		f.Error("the stored sum is not that of the payload")
	}
	if got := []int64{b.Events[0].Position, b.Events[1].Position, b.Events[2].Position}; !slices.Equal(got, []int64{1, 2, 3}) {
		f.Errorf("positions %v", got)
	}
	if n := f.count(`SELECT count(*) FROM deliveries WHERE lease = $1 AND attempts = 0 AND due_at = created_at`, token); n != 6 {
		f.Errorf("%d leased deliveries, want 6", n)
	}
	if n := f.count(`SELECT sum(fanned_out) FROM balances WHERE subscription_id = $1`, subB); n != 3 {
		f.Errorf("%d fanned out to one subscription, want 3", n)
	}
	f.publish(batch([][]*event.Event{{newEvent("emp_4")}})) // that nobody wants
	if got := f.rows(); got != "4 6 0 0 6" {
		f.Errorf("rows %s", got)
	}
}

func publishKnown(f *fixture) {
	e := newEvent("emp_1")
	f.publish(one(subA, e))
	again := *e
	b := one(subA, &again)
	f.publish(b)
	if got := fates(b); got[0] != ingest.Absent || b.Calls[0].Err != nil {
		f.Errorf("the same again: %v, %v", got, b.Calls[0].Err)
	}
	again = *e
	b = one(subA, &again, newEvent("emp_2"))
	f.publish(b)
	if got := fates(b); got[0] != ingest.Absent || got[1] != ingest.Leased {
		f.Errorf("the same with a new one: %v", got)
	}
	if got := f.rows(); got != "2 2 0 0 2" {
		f.Errorf("rows %s", got)
	}
}

func publishConflict(f *fixture) {
	known := newEvent("emp_1")
	f.publish(one(subA, known))
	other := event.New(known.ID, known.Type, known.OccurredAt, map[string]any{"employee": map[string]any{"id": "emp_1", "version": 2}})
	same := *known
	b := batch([][]*event.Event{{newEvent("emp_2")}, {newEvent("emp_3"), &other}, {newEvent("emp_4")}}, subA)
	f.publish(b)
	conflict, ok := errors.AsType[*event.ConflictError](b.Calls[1].Err)
	if !ok || conflict.ID != known.ID || !errors.Is(b.Calls[1].Err, event.ErrConflict) {
		f.Errorf("conflict: %v", b.Calls[1].Err)
	}
	if b.Calls[0].Err != nil || b.Calls[2].Err != nil {
		f.Errorf("the other calls: %v, %v", b.Calls[0].Err, b.Calls[2].Err)
	}
	if diff := cmp.Diff([]ingest.Fate{ingest.Leased, ingest.Absent, ingest.Absent, ingest.Leased}, fates(b)); diff != "" {
		f.Errorf("fates (-want +got):\n%s", diff)
	}
	f.publish(one(subA, &same))
	if got := f.rows(); got != "3 3 0 0 3" {
		f.Errorf("rows %s", got)
	}
}

func publishStale(f *fixture) {
	before := f.rows()
	b := one(subA, newEvent("emp_1"))
	b.Epoch = 2
	stored, err := f.Publish(f.Context(), b)
	if stored || err != nil {
		f.Errorf("stored %v, %v; want false, nil", stored, err)
	}
	if got := f.rows(); got != before {
		f.Errorf("rows %s, before %s", got, before)
	}
	if n := f.count(`SELECT position FROM feed`); n != 0 {
		f.Errorf("the feed's position is %d", n)
	}
}

// publishFails stores all of a batch or nothing, wherever it fails.
func publishFails(f *fixture) {
	before := f.rows()
	b := batch([][]*event.Event{{newEvent("emp_1"), newEvent("emp_2")}}, subA, subB)
	b.Deliveries[3].ID = b.Deliveries[0].ID
	b.At = f.Now()
	if _, err := f.Publish(f.Context(), b); !errors.Is(err, delivery.ErrRefused) {
		f.Errorf("two deliveries with one id: %v", err)
	}
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	b = batch([][]*event.Event{{newEvent("emp_1"), newEvent("emp_2")}}, subA, subB)
	b.At = f.Now()
	if _, err := f.Publish(ctx, b); err == nil {
		f.Error("published after the context had ended")
	}
	if got := f.rows(); got != before {
		f.Errorf("rows %s, before %s", got, before)
	}
	f.publish(b)
}

func publishLines(f *fixture) {
	b := one(subA, newEvent("emp_1"), newEvent("emp_1"), newEvent("emp_2"), newEvent(""), newEvent(""))
	f.publish(b)
	if diff := cmp.Diff([]ingest.Fate{ingest.Leased, ingest.Blocked, ingest.Leased, ingest.Leased, ingest.Leased}, fates(b)); diff != "" {
		f.Errorf("in one batch (-want +got):\n%s", diff)
	}
	b = one(subA, newEvent("emp_1"), newEvent("emp_3"))
	f.publish(b)
	if diff := cmp.Diff([]ingest.Fate{ingest.Blocked, ingest.Leased}, fates(b)); diff != "" {
		f.Errorf("behind another batch (-want +got):\n%s", diff)
	}
	b = one(subA, newEvent("emp_1"), newEvent("emp_1"))
	b.Deliveries[0].Ordered, b.Deliveries[1].Ordered = false, false
	f.publish(b)
	if diff := cmp.Diff([]ingest.Fate{ingest.Leased, ingest.Leased}, fates(b)); diff != "" {
		f.Errorf("where order does not matter (-want +got):\n%s", diff)
	}
	b = one(subB, newEvent("emp_1"))
	f.publish(b)
	if fates(b)[0] != ingest.Leased {
		f.Error("another subscription's line is in the way")
	}
	b = one(subB, newEvent("emp_9"))
	b.Deliveries[0].Lease = false
	f.publish(b)
	if fates(b)[0] != ingest.Queued {
		f.Error("leased though not asked")
	}
	if n := f.count(`SELECT count(*) FROM deliveries WHERE lease = 0 AND due_at > created_at`); n != 2 {
		f.Errorf("%d blocked ones are due later, want 2", n)
	}
}

func publishWithoutToken(f *fixture) {
	for _, none := range []int64{0, 99 << 32} {
		b := one(subA, newEvent("emp_1"+fmt.Sprint(none)))
		b.Token = none
		f.publish(b)
		if fates(b)[0] != ingest.Queued {
			f.Errorf("token %d: %v, want queued", none, fates(b))
		}
	}
	if n := f.count(`SELECT count(*) FROM deliveries WHERE lease = 0`); n != 2 {
		f.Errorf("%d not leased, want 2", n)
	}
}

func publishLater(f *fixture) {
	b := one(subA, newEvent("emp_1"))
	b.Deliveries[0].Lease, b.Deliveries[0].Wait = false, time.Hour
	f.publish(b)
	if fates(b)[0] != ingest.Queued {
		f.Errorf("%v, want queued", fates(b))
	}
	if ids, _, _ := f.claim(token, delivery.Want{SubscriptionID: subA, Room: 10, Ordered: true}); len(ids) != 0 {
		f.Error("claimed before it was due")
	}
	f.dueNow()
	if ids, _, _ := f.claim(token, delivery.Want{SubscriptionID: subA, Room: 10, Ordered: true}); len(ids) != 1 {
		f.Error("not claimed when due")
	}
}

// publishRetried is lib/pq#939, and its kin: the statement ran, and the answer was lost.
func publishRetried(f *fixture) {
	b := batch([][]*event.Event{{newEvent("emp_1")}, {newEvent("emp_2"), newEvent("emp_2")}}, subA)
	f.publish(b)
	before, want := f.rows(), fates(b)
	for i := range b.Deliveries {
		b.Deliveries[i].Fate = ingest.Absent
	}
	b.Retried = true
	f.publish(b)
	if got := f.rows(); got != before {
		f.Errorf("rows %s, before %s", got, before)
	}
	for i, fate := range fates(b) {
		if (fate == ingest.Leased) != (want[i] == ingest.Leased) {
			f.Errorf("fates %v, the first time %v", fates(b), want)
		}
	}
	if held, _ := f.finish(end(leased(b, 0), delivery.Delivered, 0)); !held[0] {
		f.Error("what was leased the first time is not held")
	}
	b = one(subA, newEvent("emp_5"))
	b.Retried = true
	f.publish(b)
	if fates(b)[0] != ingest.Leased {
		f.Errorf("a try that had not been stored: %v", fates(b))
	}
	f.balanced()
}

func publishMany(f *fixture) {
	const n = 10_000
	b := one(subA, newEvent("emp_1"))
	b.Deliveries = nil
	for i := range n {
		b.Deliveries = append(b.Deliveries, ingest.NewDelivery{
			ID: id.New("dlv"), SubscriptionID: fmt.Sprintf("sub_%026d", i), Ordered: true, Lease: true,
		})
	}
	b.Calls[0].Deliveries = n
	started := time.Now()
	f.publish(b)
	f.Logf("%d deliveries of one event stored in %v", n, time.Since(started).Round(time.Millisecond))
	if got := f.rows(); got != fmt.Sprintf("1 %d 0 0 %d", n, n) {
		f.Errorf("rows %s", got)
	}
	if i := slices.IndexFunc(fates(b), func(fate ingest.Fate) bool { return fate != ingest.Leased }); i >= 0 {
		f.Errorf("delivery %d is not leased", i)
	}
}

// publishOrder: whoever follows the feed by position misses nothing, with two processes that write.
func publishOrder(f *fixture) {
	const batches = 40
	stores := []Store{f.Store, f.again()}
	var writers sync.WaitGroup
	for w, s := range stores {
		writers.Go(func() {
			for i := range batches {
				b := batch([][]*event.Event{{newEvent(fmt.Sprint(w, i)), newEvent(fmt.Sprint(w, i, "x"))}}, subA)
				b.At = s.Now()
				if stored, err := s.Publish(f.Context(), b); err != nil || !stored {
					f.Errorf("publish: %v, %v", stored, err)
				}
			}
		})
	}
	var done atomic.Bool
	go func() { writers.Wait(); done.Store(true) }()
	var cursor int64
	seen := 0
	for last := false; ; {
		finished := done.Load()
		var page []int64
		if err := f.db.Reader().SelectContext(f.Context(), &page, `SELECT position FROM events WHERE position > $1 ORDER BY position LIMIT 7`, cursor); err != nil {
			f.Fatal(err)
		}
		seen += len(page)
		if len(page) > 0 {
			cursor = page[len(page)-1]
			continue
		}
		if last {
			break
		}
		last = finished
	}
	if want := 2 * 2 * batches; seen != want {
		f.Errorf("the follower saw %d of %d events", seen, want)
	}
}

// publishFence: every event is fanned out by the epoch that was true when it took its position.
func publishFence(f *fixture) {
	type change struct{ epoch, position int64 }
	changes := []change{{1, 0}}
	var mu sync.Mutex
	var workers sync.WaitGroup
	workers.Go(func() {
		for range 30 {
			var c change
			if err := f.db.QueryRowContext(f.Context(), `UPDATE feed SET epoch = epoch + 1 WHERE id = 1 RETURNING epoch, position`).Scan(&c.epoch, &c.position); err != nil {
				f.Error(err)
				return
			}
			mu.Lock()
			changes = append(changes, c)
			mu.Unlock()
			time.Sleep(3 * time.Millisecond)
		}
	})
	epochs := map[int64]int64{} // by position
	for _, s := range []Store{f.Store, f.again()} {
		workers.Go(func() {
			for i := range 60 {
				mu.Lock()
				epoch := changes[len(changes)-1].epoch
				mu.Unlock()
				b := one(subA, newEvent(fmt.Sprint("emp_", i)))
				b.Epoch, b.At = epoch, s.Now()
				stored, err := s.Publish(f.Context(), b)
				if err != nil {
					f.Error(err)
				}
				if stored {
					mu.Lock()
					epochs[b.Events[0].Position] = epoch
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	for position, epoch := range epochs {
		var true_ int64
		for _, c := range changes {
			if c.position < position {
				true_ = c.epoch
			}
		}
		if epoch != true_ {
			f.Errorf("position %d was fanned out by epoch %d; it was %d", position, epoch, true_)
		}
	}
	if len(epochs) == 0 {
		f.Error("nothing was stored")
	}
}
