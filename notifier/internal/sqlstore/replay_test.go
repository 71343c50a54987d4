package sqlstore_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/notifier/internal/replay"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/id"
)

func (s opened) replay(t *testing.T, r replay.Replay) string {
	t.Helper()
	r.ID, r.Status, r.Total, r.CreatedAt = id.New("rpl"), replay.Running, -1, now()
	if before, err := s.CreateReplay(t.Context(), r, access.Request{}, entry(r.ID)); err != nil || before != nil {
		t.Fatal(before, err)
	}
	return r.ID
}

func (s opened) lease(t *testing.T, token int64) *replay.Job {
	t.Helper()
	job, next, err := s.LeaseReplay(t.Context(), token, time.Minute)
	if err != nil || job == nil {
		t.Fatalf("%v, next in %s, %v", job, next, err)
	}
	return job
}

// run does what the runner does, for a job that matches everything.
func (s opened) run(t *testing.T, limit int) *replay.Job {
	t.Helper()
	for {
		j := s.lease(t, 1)
		after := j.SentTo
		if !j.Counted {
			after = j.CountedTo
		}
		events, to, err := s.ReplayEvents(t.Context(), j, after, limit, true)
		if err != nil {
			t.Fatal(err)
		}
		if len(j.Statuses) > 0 {
			ends, err := s.DeliveryEnds(t.Context(), j, events)
			if err != nil {
				t.Fatal(err)
			}
			events = slices.DeleteFunc(events, func(e *event.Event) bool { return !slices.Contains(j.Statuses, ends[e.ID]) })
		}
		if !j.Counted {
			j.Counting += int64(len(events))
			j.CountedTo = to
			j.Counted = to >= j.EndPosition
			if err := s.Count(t.Context(), j); err != nil {
				t.Fatal(err)
			}
			if j.Counted && j.DryRun {
				return j
			}
			continue
		}
		j.SentTo, j.Done = to, j.Done+int64(len(events))
		if _, err := s.Send(t.Context(), j, events, 1000, 0); err != nil {
			t.Fatal(err)
		}
		if to >= j.EndPosition {
			return j
		}
	}
}

// A replay sends again what was delivered or dead, under the same delivery, makes what never was, and leaves what is pending.
func TestReplaySendsEachEventOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		sub, other := s.subscribe(t, "bank-a"), s.subscribe(t, "bank-b")
		var events []*event.Event
		for i := range 8 {
			events = append(events, employeeEvent(fmt.Sprintf("emp_%d", i), 1))
		}
		s.publish(t, []string{sub, other}, events[:2]...)
		s.finish(t, sub, delivered)
		s.publish(t, []string{sub}, events[2:4]...)
		s.finish(t, sub, dead)
		s.publish(t, []string{sub}, events[4:6]...)   // pending
		s.publish(t, []string{other}, events[6:8]...) // never for this one
		erased := employeeEvent("emp_erased", 1)      // nothing to send
		s.publish(t, []string{other}, erased)         //
		if _, err := s.Erase(t.Context(), "emp_erased", entry("x")); err != nil {
			t.Fatal(err)
		}
		before, err := s.Deliveries(t.Context(), history.DeliveryQuery{SubscriptionID: sub, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]string{}
		for _, d := range before {
			ids[d.EventID] = d.ID
		}
		s.balance(t, sub, history.Balance{FannedOut: 6, Delivered: 2, Dead: 2, Pending: 2})

		rpl := s.replay(t, replay.Replay{SubscriptionID: sub})
		s.publish(t, nil, employeeEvent("emp_later", 1)) // not part of it
		s.run(t, 3)
		r, err := s.Replay(t.Context(), rpl)
		if err != nil || r.Status != replay.Succeeded || r.Total != 8 || r.Done != 8 || r.FinishedAt.IsZero() {
			t.Errorf("%+v, %v", r, err)
		}
		s.balance(t, sub, history.Balance{FannedOut: 8, Pending: 8})
		after, err := s.Deliveries(t.Context(), history.DeliveryQuery{SubscriptionID: sub, Limit: 100})
		if err != nil || len(after) != 8 {
			t.Fatalf("%d deliveries, %v", len(after), err)
		}
		for _, d := range after {
			if was, ok := ids[d.EventID]; ok && was != d.ID {
				t.Errorf("event %s has another delivery", d.EventID)
			}
			if d.Status != delivery.Pending {
				t.Errorf("%+v", d)
			}
		}
		var sent []string
		s.finish(t, sub, func(d delivery.Delivery) (delivery.Status, delivery.Attempt) {
			sent = append(sent, d.EventID)
			return delivered(d)
		})
		if len(sent) != 8 {
			t.Errorf("%d sent", len(sent))
		}
		s.balance(t, sub, history.Balance{FannedOut: 8, Delivered: 8})
		s.balance(t, other, history.Balance{FannedOut: 5, Pending: 4, Cancelled: 1})
	})
}

func TestReplayConditions(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		sub := s.subscribe(t, "bank-a")
		base := now().Add(-time.Hour)
		var events []*event.Event
		for i := range 6 {
			e := employeeEvent(fmt.Sprintf("emp_%d", i), 1)
			e.OccurredAt = base.Add(time.Duration(i) * time.Minute)
			events = append(events, e)
		}
		s.publish(t, []string{sub}, events...)
		s.finish(t, sub, func(d delivery.Delivery) (delivery.Status, delivery.Attempt) {
			if d.Position%2 == 0 {
				return dead(d)
			}
			return delivered(d)
		})
		for name, tt := range map[string]struct {
			r    replay.Replay
			want int64
		}{
			"all":           {replay.Replay{}, 6},
			"from a time":   {replay.Replay{Start: base.Add(2 * time.Minute)}, 4},
			"until a time":  {replay.Replay{End: base.Add(2 * time.Minute)}, 2},
			"between":       {replay.Replay{Start: base.Add(time.Minute), End: base.Add(3 * time.Minute)}, 2},
			"dead":          {replay.Replay{Statuses: []delivery.Status{delivery.Dead}}, 3},
			"dead, from":    {replay.Replay{Statuses: []delivery.Status{delivery.Dead}, Start: base.Add(3 * time.Minute)}, 2},
			"both":          {replay.Replay{Statuses: []delivery.Status{delivery.Dead, delivery.Delivered}}, 6},
			"cancelled":     {replay.Replay{Statuses: []delivery.Status{delivery.Cancelled}}, 0},
			"in the future": {replay.Replay{Start: now().Add(time.Hour)}, 0},
		} {
			tt.r.SubscriptionID, tt.r.DryRun = sub, true
			rpl := s.replay(t, tt.r)
			s.run(t, 2)
			if r, err := s.Replay(t.Context(), rpl); err != nil || r.Status != replay.Succeeded || r.Total != tt.want || r.Done != 0 {
				t.Errorf("%s: %+v, %v; want %d", name, r, err, tt.want)
			}
		}
		s.balance(t, sub, history.Balance{FannedOut: 6, Delivered: 3, Dead: 3}) // a dry run changes nothing
	})
}

// A worker that has lost its lease, or works for a replay that was cancelled, writes nothing.
func TestReplayLease(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		if job, next, err := s.LeaseReplay(t.Context(), 1, time.Minute); job != nil || next != 0 || err != nil {
			t.Errorf("none there: %v, %s, %v", job, next, err)
		}
		sub := s.subscribe(t, "bank-a")
		e := employeeEvent("emp_1", 1)
		s.publish(t, nil, e)
		rpl := s.replay(t, replay.Replay{SubscriptionID: sub})
		first, _, err := s.LeaseReplay(t.Context(), 1, 50*time.Millisecond)
		if err != nil || first == nil {
			t.Fatal(err)
		}
		if job, next, err := s.LeaseReplay(t.Context(), 2, time.Minute); job != nil || next <= 0 || err != nil {
			t.Errorf("leased by another: %v, %s, %v", job, next, err)
		}
		time.Sleep(60 * time.Millisecond)
		second := s.lease(t, 2)
		first.Counted, first.Counting, first.CountedTo = true, 99, 1
		if err := s.Count(t.Context(), first); !errors.Is(err, replay.ErrLost) {
			t.Errorf("count without a lease: %v", err)
		}
		if _, err := s.Send(t.Context(), first, []*event.Event{e}, 10, 0); !errors.Is(err, replay.ErrLost) {
			t.Errorf("send without a lease: %v", err)
		}
		if err := s.Fail(t.Context(), first, "x"); !errors.Is(err, replay.ErrLost) {
			t.Errorf("fail without a lease: %v", err)
		}
		for range 2 {
			if r, err := s.CancelReplay(t.Context(), rpl, entry(rpl)); err != nil || r.Status != replay.Cancelled || r.FinishedAt.IsZero() {
				t.Errorf("cancel: %+v, %v", r, err)
			}
		}
		if _, err := s.Send(t.Context(), second, []*event.Event{e}, 10, 0); !errors.Is(err, replay.ErrLost) {
			t.Errorf("send for a cancelled one: %v", err)
		}
		s.balance(t, sub, history.Balance{})
		if _, err := s.CancelReplay(t.Context(), id.New("rpl"), entry("x")); !errors.Is(err, replay.ErrNotFound) {
			t.Errorf("no such replay: %v", err)
		}
		if _, err := s.Replay(t.Context(), id.New("rpl")); !errors.Is(err, replay.ErrNotFound) {
			t.Errorf("no such replay: %v", err)
		}
	})
}

func TestReplayKeepsItsPaceAndItsRoom(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		sub := s.subscribe(t, "bank-a")
		for i := range 4 {
			s.publish(t, nil, employeeEvent(fmt.Sprintf("emp_%d", i), 1))
		}
		rpl := s.replay(t, replay.Replay{SubscriptionID: sub})
		j := s.lease(t, 1)
		j.Counted, j.Counting, j.CountedTo = true, 4, 4
		if err := s.Count(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		j = s.lease(t, 2)
		events, _, err := s.ReplayEvents(t.Context(), j, 0, 2, false)
		if err != nil || len(events) != 2 || events[0].Payload != nil {
			t.Fatal(events, err)
		}
		j.SentTo, j.Done = 2, 2
		if full, err := s.Send(t.Context(), j, events, 2, 5*time.Second); full || err != nil {
			t.Fatal(full, err)
		}
		if job, next, err := s.LeaseReplay(t.Context(), 3, time.Minute); job != nil || err != nil || next < 3*time.Second || next > 5*time.Second {
			t.Errorf("before its time: %v, %s, %v", job, next, err)
		}
		if _, err := s.db.Exec(`UPDATE replays SET due_at = created_at`); err != nil {
			t.Fatal(err)
		}
		j = s.lease(t, 4)
		events, to, err := s.ReplayEvents(t.Context(), j, j.SentTo, 2, false)
		if err != nil || to != 4 {
			t.Fatal(to, err)
		}
		j.SentTo, j.Done = 4, 4
		if full, err := s.Send(t.Context(), j, events, 2, 0); !full || err != nil {
			t.Errorf("with as many pending as there is room for: %v, %v", full, err)
		}
		if r, err := s.Replay(t.Context(), rpl); err != nil || r.Status != replay.Running || r.Done != 2 {
			t.Errorf("%+v, %v", r, err)
		}
		if job, next, err := s.LeaseReplay(t.Context(), 5, time.Minute); job != nil || next <= 0 || err != nil {
			t.Errorf("it looks again at once: %v, %s, %v", job, next, err)
		}
		s.balance(t, sub, history.Balance{FannedOut: 2, Pending: 2})
	})
}

func TestReplayOfADeletedSubscription(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		e := employeeEvent("emp_1", 1)
		s.publish(t, nil, e)
		s.replay(t, replay.Replay{SubscriptionID: id.New("sub")})
		j := s.lease(t, 1)
		if _, err := s.Send(t.Context(), j, []*event.Event{e}, 10, 0); !errors.Is(err, replay.ErrGone) {
			t.Errorf("%v", err)
		}
		if err := s.Fail(t.Context(), j, "the subscription was deleted"); err != nil {
			t.Error(err)
		}
		if r, err := s.Replay(t.Context(), j.ID); err != nil || r.Status != replay.Failed || r.Error == "" {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// start_from: what was published before the subscription was made comes by replay, and what comes after by fan-out.
func TestSubscriptionStartsFromThePast(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		s.publish(t, nil, employeeEvent("emp_1", 1), employeeEvent("emp_1", 2))
		r := record("late")
		rpl := id.New("rpl")
		if _, err := s.Create(t.Context(), r, &subscription.Since{ReplayID: rpl}, access.Request{}, entry(r.ID)); err != nil {
			t.Fatal(err)
		}
		s.publish(t, []string{r.ID}, employeeEvent("emp_1", 3))
		s.run(t, 10)
		if got, err := s.Replay(t.Context(), rpl); err != nil || got.Status != replay.Succeeded || got.Done != 2 || got.SubscriptionID != r.ID {
			t.Errorf("%+v, %v", got, err)
		}
		var positions []int64
		s.finish(t, r.ID, func(d delivery.Delivery) (delivery.Status, delivery.Attempt) {
			positions = append(positions, d.Position)
			return delivered(d)
		})
		if fmt.Sprint(positions) != "[1 2 3]" {
			t.Errorf("sent in the order %v", positions)
		}
		s.balance(t, r.ID, history.Balance{FannedOut: 3, Delivered: 3})
	})
}

// A replay and callers that retry the same deliveries, all at once.
func TestReplayAgainstRetries(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		sub := s.subscribe(t, "bank-a")
		var events []*event.Event
		for i := range 20 {
			events = append(events, employeeEvent(fmt.Sprintf("emp_%d", i), 1))
		}
		s.publish(t, []string{sub}, events...)
		s.finish(t, sub, dead)
		list, err := s.Deliveries(t.Context(), history.DeliveryQuery{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		s.replay(t, replay.Replay{SubscriptionID: sub})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, d := range list {
				if _, err := s.Retry(t.Context(), d.ID, nil, entry(d.ID)); err != nil {
					t.Error(err)
				}
			}
		}()
		s.run(t, 5)
		<-done
		s.balance(t, sub, history.Balance{FannedOut: 20, Pending: 20})
	})
}
