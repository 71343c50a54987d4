package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/platform/sqldb"
)

func containsAny(s string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

func (s opened) feed(t *testing.T, q history.EventQuery) (ids []string, next int64) {
	t.Helper()
	for {
		page, err := s.Events(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			ids = append(ids, e.ID)
		}
		q.After = page.Next
		if !page.More {
			return ids, page.Next
		}
	}
}

func TestFeed(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		if ids, next := s.feed(t, history.EventQuery{Limit: 3}); len(ids) != 0 || next != 0 {
			t.Errorf("an empty feed: %v, %d", ids, next)
		}
		var want []string
		for i := range 10 {
			e := employeeEvent(fmt.Sprintf("emp_%d", i%2), i+1)
			if i%5 == 0 {
				e.Type = "employee.created"
			}
			s.publish(t, nil, e)
			want = append(want, e.ID)
		}
		ids, next := s.feed(t, history.EventQuery{Limit: 3})
		if fmt.Sprint(ids) != fmt.Sprint(want) || next != 10 {
			t.Errorf("%v up to %d, want %v", ids, next, want)
		}
		if ids, again := s.feed(t, history.EventQuery{After: next, Limit: 3}); len(ids) != 0 || again != next {
			t.Errorf("at the end: %v, %d", ids, again)
		}
		for q, n := range map[history.EventQuery]int{
			{Type: "employee.created"}: 2, {Type: "employee.*"}: 10, {Type: "employee.terminated"}: 0, {Type: "emp*"}: 10, {EmployeeID: "emp_1"}: 5,
			{EmployeeID: "emp_1", Type: "employee.created"}: 1, {EmployeeID: "emp_9"}: 0,
		} {
			q.Limit = 2
			if ids, _ := s.feed(t, q); len(ids) != n {
				t.Errorf("%+v: %d events, want %d", q, len(ids), n)
			}
		}
		got, err := s.Event(t.Context(), want[3])
		if err != nil || got.ID != want[3] || got.Position != 4 || len(got.Payload) == 0 || got.ReceivedAt.Location() != time.UTC {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := s.Event(t.Context(), "evt_0"); !errors.Is(err, event.ErrNotFound) {
			t.Errorf("no such event: %v", err)
		}
	})
}

// Two writers, of which the first to write commits last: a follower never passes the place of an event that it has not seen.
func TestFeedNeverSkipsALateCommit(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		if s.db.Engine == sqldb.SQLite {
			t.Skip("one writer at a time: there is no late commit")
		}
		held, err := s.db.BeginTxx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = held.Rollback() }()
		late, early := employeeEvent("emp_1", 1), employeeEvent("emp_2", 1)
		var position int64
		if err := held.Get(&position, `UPDATE feed SET position = position + 1 WHERE id = 1 RETURNING position`); err != nil {
			t.Fatal(err)
		}
		if _, err := held.Exec(`INSERT INTO events (id, position, type, employee_id, version, occurred_at, received_at, payload, payload_sha256)
			VALUES ($1, $2, $3, $4, 1, now(), now(), $5, $5)`, late.ID, position, late.Type, late.EmployeeID, late.Payload); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); s.publish(t, nil, early) }()
		var seen []string
		var after int64
		for range 20 {
			page, err := s.Events(t.Context(), history.EventQuery{After: after, Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Events {
				seen = append(seen, e.ID)
			}
			after = page.Next
			time.Sleep(10 * time.Millisecond)
		}
		if len(seen) != 0 || after != 0 {
			t.Errorf("before the commit: %v, up to %d", seen, after)
		}
		if err := held.Commit(); err != nil {
			t.Fatal(err)
		}
		<-done
		if ids, _ := s.feed(t, history.EventQuery{After: after, Limit: 10}); fmt.Sprint(ids) != fmt.Sprint([]string{late.ID, early.ID}) {
			t.Errorf("%v, want %s and %s", ids, late.ID, early.ID)
		}
	})
}

// Writers at full speed, and a follower that must see all, once and in order.
func TestFeedUnderLoad(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		const writers, each = 4, 25
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range each {
					s.publish(t, nil, employeeEvent("emp_1", 1))
				}
			})
		}
		go func() { wg.Wait(); stop() }()
		seen := map[string]int{}
		var after, last int64
		for finished := false; ; {
			page, err := s.Events(t.Context(), history.EventQuery{After: after, Limit: 7})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Events {
				seen[e.ID]++
				if e.Position <= last {
					t.Fatalf("position %d after %d", e.Position, last)
				}
				last = e.Position
			}
			after = page.Next
			if finished && !page.More {
				break
			}
			finished = ctx.Err() != nil
		}
		if len(seen) != writers*each {
			t.Errorf("%d events, want %d", len(seen), writers*each)
		}
	})
}
