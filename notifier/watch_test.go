package notifier_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// watching is a stream of attempts.
type watching struct {
	seen chan *notifierv1.WatchDeliveriesResponse
	err  chan error
	stop context.CancelFunc
}

func (c *client) watch(t *testing.T, req *notifierv1.WatchDeliveriesRequest) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := c.WatchDeliveries(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // the header comes a moment before it watches
	w := &watching{make(chan *notifierv1.WatchDeliveriesResponse, 100), make(chan error, 1), cancel}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			m, err := stream.Recv()
			if err != nil {
				w.err <- err
				return
			}
			w.seen <- m
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return w
}

func (w *watching) next(t *testing.T) *notifierv1.WatchDeliveriesResponse {
	t.Helper()
	select {
	case m := <-w.seen:
		return m
	case err := <-w.err:
		t.Fatal(err)
	case <-time.After(5 * time.Second):
		t.Fatal("nothing was seen")
	}
	return nil
}

func (w *watching) nothing(t *testing.T) {
	t.Helper()
	select {
	case m := <-w.seen:
		t.Errorf("seen: %v", m)
	case <-time.After(100 * time.Millisecond):
	}
}

func TestWatchDeliveries(t *testing.T) {
	forEachEngine(t, func(t *testing.T, url string) {
		n := start(t, config(t, url))
		pub, own, other, viewer := n.as(t, "publisher"), n.as(t, "bank-a"), n.as(t, "bank-b"), n.as(t, "viewer")
		b := newBank(t)
		sub := own.subscribe(t, b, quickly)
		all := viewer.watch(t, &notifierv1.WatchDeliveriesRequest{})
		mine := own.watch(t, &notifierv1.WatchDeliveriesRequest{SubscriptionId: sub.GetId()})
		theirs := other.watch(t, &notifierv1.WatchDeliveriesRequest{})
		failures := own.watch(t, &notifierv1.WatchDeliveriesRequest{FailuresOnly: true})
		employee := own.watch(t, &notifierv1.WatchDeliveriesRequest{EmployeeId: "emp_2"})

		first := fact(t, "emp_1", 1, nil)
		pub.publish(t, first)
		for _, w := range []*watching{all, mine} {
			m := w.next(t)
			d := m.GetDelivery()
			if d.GetEventId() != first.GetId() || d.GetStatus() != notifierv1.Delivery_DELIVERED || len(d.GetAttempts()) != 1 || d.GetAttempts()[0].GetOutcome() != "delivered" || m.GetMissedCount() != 0 {
				t.Errorf("%v", m)
			}
		}
		b.answers(500)
		pub.publish(t, fact(t, "emp_2", 1, nil))
		for _, w := range []*watching{all, mine, failures, employee} {
			for _, want := range []notifierv1.Delivery_Status{notifierv1.Delivery_PENDING, notifierv1.Delivery_DEAD} {
				if d := w.next(t).GetDelivery(); d.GetEmployeeId() != "emp_2" || d.GetStatus() != want || d.GetAttempts()[0].GetStatusCode() != 500 {
					t.Errorf("%v", d)
				}
			}
			w.nothing(t)
		}
		theirs.nothing(t)
		_, err := n.as(t, "publisher").WatchDeliveries(t.Context(), &notifierv1.WatchDeliveriesRequest{})
		if err == nil {
			stream, _ := pub.WatchDeliveries(t.Context(), &notifierv1.WatchDeliveriesRequest{})
			_, err = stream.Recv()
		}
		wantCode(t, "a publisher watches", err, codes.PermissionDenied)

		all.stop()
		if err := <-all.err; status.Code(err) != codes.Canceled && !errors.Is(err, io.EOF) {
			t.Errorf("after the client has gone: %v", err)
		}
		began := time.Now()
		if err := n.stop(); err != nil { // watchers do not hold it up
			t.Error(err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("stopping took %s", took)
		}
	})
}

// With several replicas, whoever watches sees what all of them do, each attempt once.
func TestWatchersSeeEveryReplica(t *testing.T) {
	url := postgres(t)
	a, b := start(t, config(t, url)), start(t, config(t, url))
	receiver := newBank(t)
	own := a.as(t, "bank-a")
	sub := own.subscribe(t, receiver, nil)
	watchers := []*watching{own.watch(t, &notifierv1.WatchDeliveriesRequest{}), b.as(t, "bank-a").watch(t, &notifierv1.WatchDeliveriesRequest{})}
	time.Sleep(3 * time.Second) // for the replicas to learn that somebody watches
	want := map[string]int{}
	for i := range 20 {
		e := fact(t, "emp_"+string(rune('a'+i)), 1, nil)
		want[e.GetId()] = 1
		[]*running{a, b}[i%2].as(t, "publisher").publish(t, e)
	}
	balanced(t, own, sub.GetId(), 20)
	for i, w := range watchers {
		got := map[string]int{}
		for range 20 {
			got[w.next(t).GetDelivery().GetEventId()]++
		}
		w.nothing(t)
		for e := range want {
			if got[e] != 1 {
				t.Errorf("watcher %d saw %s %d times", i, e, got[e])
			}
		}
	}
}
