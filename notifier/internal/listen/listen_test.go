package listen_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/filter"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/notifier/internal/listen"
	"hirewire.dev/notifier/internal/subscription"
)

// feed is a feed in memory.
type feed struct {
	mu     sync.Mutex
	events []event.Event
	reads  int
	err    error
}

func (f *feed) Events(_ context.Context, q history.EventQuery) (history.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	end := min(int64(len(f.events)), q.After+int64(q.Limit))
	return history.Page{Events: append([]event.Event(nil), f.events[q.After:end]...), Next: end, More: end < int64(len(f.events))}, f.err
}

func (f *feed) Position(context.Context) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.events)), f.err
}

func (f *feed) add(employee string, version int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := event.New(fmt.Sprintf("evt_%s_%d", employee, version), "employee.updated", time.Now(), map[string]any{"employee": map[string]any{"id": employee, "version": version}})
	e.Position = int64(len(f.events) + 1)
	f.events = append(f.events, e)
}

func service(f *feed) *listen.Service {
	n := 0
	return listen.New(listen.Config{
		Feed: f, Candidate: filter.Candidate, Types: []string{"employee.updated"}, Schedule: []time.Duration{0, 10 * time.Second, 10 * time.Second}, Version: "1",
		Compile: func(string) (func(*subscription.Candidate) bool, error) { return nil, errors.New("no filters here") },
		Log:     slog.New(slog.DiscardHandler),
		NewID:   func(prefix string) string { n++; return fmt.Sprintf("%s_%d", prefix, n) },
	})
}

// developer runs a session and collects what comes.
type developer struct {
	got  chan listen.Request
	acks chan listen.Ack
	end  chan error
}

func (d *developer) ack(r listen.Request, code int) {
	d.acks <- listen.Ack{DeliveryID: r.DeliveryID, StatusCode: code}
	synctest.Wait()
}

func develop(t *testing.T, s *listen.Service) *developer {
	t.Helper()
	session, err := s.Open(t.Context(), listen.Opening{})
	if err != nil {
		t.Fatal(err)
	}
	d := &developer{make(chan listen.Request, 1000), make(chan listen.Ack), make(chan error, 1)}
	go func() {
		defer session.Close()
		d.end <- session.Run(t.Context(), func(r listen.Request) error { d.got <- r; return nil }, d.acks)
	}()
	return d
}

// What is not acknowledged within the time of an attempt is sent again, and given up at the end of the schedule.
func TestUnacknowledgedEventsComeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &feed{}
		d := develop(t, service(f))
		f.add("emp_1", 1)
		began := time.Now()
		for attempt := 1; attempt <= 3; attempt++ {
			if r := <-d.got; r.Attempt != attempt {
				t.Errorf("attempt %d, want %d", r.Attempt, attempt)
			}
		}
		// 15 s each until it is given up, and 10 s ± 20 % between.
		if took := time.Since(began); took < 46*time.Second || took > 55*time.Second {
			t.Errorf("the third came after %s", took)
		}
		time.Sleep(time.Minute)
		select {
		case r := <-d.got:
			t.Errorf("after the schedule's end: %+v", r)
		default:
		}
		f.add("emp_1", 2) // after a dead one, the next goes
		if r := <-d.got; r.Headers["webhook-id"] != "evt_emp_1_2" {
			t.Errorf("%+v", r)
		}
		close(d.acks)
		if err := <-d.end; err != nil {
			t.Error(err)
		}
	})
}

// A developer who reads and answers slowly is sent no more than can be under way, and the rest stays in the feed.
func TestASlowDeveloperIsNotFlooded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &feed{}
		d := develop(t, service(f))
		for i := range 1000 {
			f.add(fmt.Sprintf("emp_%d", i), 1)
		}
		time.Sleep(time.Second)
		if n := len(d.got); n != 32 {
			t.Errorf("%d under way", n)
		}
		seen := map[string]bool{}
		for range 1000 {
			r := <-d.got
			if seen[r.DeliveryID] {
				t.Errorf("%s came twice", r.DeliveryID)
			}
			seen[r.DeliveryID] = true
			d.ack(r, 200)
		}
		close(d.acks)
		if err := <-d.end; err != nil {
			t.Error(err)
		}
	})
}

// One employee's failing event holds back that employee's later ones, and nobody else's.
func TestOrderByEmployee(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &feed{}
		d := develop(t, service(f))
		f.add("emp_1", 1)
		f.add("emp_1", 2)
		f.add("emp_2", 1)
		first, other := <-d.got, <-d.got
		if first.Headers["webhook-id"] != "evt_emp_1_1" || other.Headers["webhook-id"] != "evt_emp_2_1" {
			t.Fatalf("%v, %v", first.Headers, other.Headers)
		}
		d.ack(other, 200)
		d.ack(first, 503)
		again := <-d.got
		if again.DeliveryID != first.DeliveryID || again.Attempt != 2 {
			t.Errorf("%+v", again)
		}
		d.ack(again, 200)
		if r := <-d.got; r.Headers["webhook-id"] != "evt_emp_1_2" {
			t.Errorf("%v", r.Headers)
		}
		close(d.acks)
		<-d.end
	})
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	s := service(&feed{})
	var open []*listen.Session
	for range 100 {
		session, err := s.Open(t.Context(), listen.Opening{})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, session)
	}
	if _, err := s.Open(t.Context(), listen.Opening{}); !errors.Is(err, listen.ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	open[0].Close()
	if _, err := s.Open(t.Context(), listen.Opening{}); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
}

func TestAFailingFeedEndsTheSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &feed{}
		d := develop(t, service(f))
		time.Sleep(time.Second)
		f.mu.Lock()
		f.err = errors.New("the database is away")
		f.mu.Unlock()
		if err := <-d.end; !errors.Is(err, f.err) {
			t.Error(err)
		}
	})
}
