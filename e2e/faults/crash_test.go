package faults_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/sqldb/sqldbtest/pgproxy"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// crashPoint is a moment in the life of one event at which the notifier is killed.
type crashPoint struct {
	name string
	// statement is what the notifier sends to the database at that moment; the kill comes before it is run, or after.
	statement string
	after     bool
	// fail has the bank answer the first attempt with 500; inBank kills while the bank has not answered yet.
	fail, inBank bool
	// settles waits until the event is delivered, so that the kills that follow cost it no further POST.
	settles bool
	// least and most are how many POSTs the event may cost.
	least, most int
}

var crashPoints = []crashPoint{
	{name: "an event came in, and is not stored", statement: "WITH f AS", settles: true, least: 1, most: 1},
	{name: "the end of the delivery is stored, and nobody heard of it", statement: "WITH del AS", after: true, settles: true, least: 1, most: 1},
	{name: "the event is stored with its delivery, and the publisher has not heard of it", statement: "WITH f AS", after: true, settles: true, least: 1, most: 1},
	{name: "the request is sent, and not answered", inBank: true, least: 2, most: 2},
	{name: "the bank said 2xx, and that is not stored", statement: "WITH del AS", least: 2, most: 2},
	{name: "the bank said 500, and the retry is not stored", statement: "WITH upd AS", fail: true, least: 2, most: 2},
}

// Whatever the notifier was doing when it was killed: the event arrives, with the same id and body, and at most once more
// than it would have; publishing it again makes no second delivery.
func TestNotifierKilledAtEachStep(t *testing.T) {
	t.Parallel()
	cfg, proxy := behindProxy(t, stack.Config{Dir: t.TempDir(), DatabaseURL: programs.PostgresURL(t), Env: map[string]map[string]string{
		"notifier": {"NOTIFIER_RETRY_SCHEDULE": "0s,100ms,200ms,500ms,1s,1s"},
	}}, "notifier", "NOTIFIER_DATABASE_URL")
	s := programs.Start(t, cfg)
	n := s.Notifier(t, 1)

	var mu sync.Mutex
	answers := map[string]func(nth int) int{} // by event
	bank := mockbank.Start(t, cfg.Dir, func(r mockbank.Request) int {
		mu.Lock()
		answer := answers[r.ID]
		mu.Unlock()
		return answer(r.Nth)
	})
	subscription := n.Subscribe(t, &notifierv1.Subscription{Name: "crash", Url: bank.URL, Secret: bank.Secret.Reveal()})

	var events []*notifierv1.Event
	for i, point := range crashPoints {
		event := programs.Event(t, fmt.Sprintf("emp-%d", i), 1, "")
		events = append(events, event)
		killed := make(chan struct{})
		kill := sync.OnceFunc(func() { _ = syscall.Kill(n.Process.PID(), syscall.SIGKILL); close(killed) })
		mu.Lock()
		answers[event.GetId()] = func(nth int) int {
			switch {
			case nth == 1 && point.inBank:
				kill()
			case nth == 1 && point.fail:
				return 500
			}
			return 200
		}
		mu.Unlock()
		arm(proxy, point, kill)
		published := publishUntilItIsTaken(t, n, event)
		select {
		case <-killed:
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: that never happened", point.name)
		}
		if err := n.Process.Signal(syscall.SIGKILL); err != nil { // waits until it has ended
			t.Fatal(err)
		}
		if err := n.Process.Start(); err != nil {
			t.Fatal(err)
		}
		if err := <-published; err != nil {
			t.Fatalf("%s: %v", point.name, err)
		}
		if point.settles {
			settle(t, n, subscription.GetId(), i+1, 20*time.Second)
		}
	}
	settle(t, n, subscription.GetId(), len(events), 30*time.Second)
	got := readLedger(t, bank)
	for i, point := range crashPoints {
		posts := got[events[i].GetId()]
		if len(posts) < point.least || len(posts) > point.most {
			t.Errorf("%s: %d POSTs, want %d to %d", point.name, len(posts), point.least, point.most)
		}
		if len(posts) > 1 && posts[0].Timestamp == posts[1].Timestamp && posts[1].At.Sub(posts[0].At) > time.Second {
			t.Errorf("%s: the second attempt carries the timestamp of the first", point.name)
		}
		if len(posts) > 1 {
			if wait := posts[1].At.Sub(posts[0].At); wait > 15*time.Second {
				t.Errorf("%s: the second attempt came after %s, want at most 15 s", point.name, wait)
			}
		}
	}
}

// arm has the notifier killed at the point: by the proxy, in whose hands the message is then lost.
func arm(proxy *pgproxy.Proxy, point crashPoint, kill func()) {
	if point.statement == "" {
		return
	}
	rule := pgproxy.Rule{Kind: pgproxy.Statement, Text: point.statement, N: 1, Action: pgproxy.Cut, Hit: kill}
	if point.after {
		rule.Kind = pgproxy.Done
	}
	proxy.Add(rule)
}

// publishUntilItIsTaken publishes as the relay does: again and again, until the notifier has it.
func publishUntilItIsTaken(t *testing.T, n *programs.Notifier, e *notifierv1.Event) <-chan error {
	done := make(chan error, 1)
	go func() {
		var err error
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Second)
			_, err = n.Events.PublishEvents(ctx, &notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{e}})
			cancel()
			if err == nil {
				break
			}
		}
		done <- err
	}()
	return done
}
