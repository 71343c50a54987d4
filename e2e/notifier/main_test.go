// Package notifier_test shows the notifier as banks see it: real processes, real HTTPS, and a count at the end of each test.
package notifier_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

func TestMain(m *testing.M) {
	code := m.Run()
	programs.Remove()
	os.Exit(code)
}

// engine is one notifier on SQLite, or two that share a PostgreSQL.
type engine struct {
	*programs.Notifier                      // the first replica
	replicas           []*programs.Notifier // all
	dir                string
}

func engines(t *testing.T, test func(t *testing.T, e *engine)) {
	t.Helper()
	programs.Engines(t, func(t *testing.T, databaseURL string) { test(t, startEngine(t, databaseURL)) })
}

func startEngine(t testing.TB, databaseURL string) *engine {
	t.Helper()
	cfg := stack.Config{Dir: t.TempDir(), DatabaseURL: databaseURL, Notifiers: 1}
	if databaseURL != "" {
		cfg.Notifiers = 2
	}
	s := programs.Start(t, cfg)
	e := &engine{dir: cfg.Dir}
	for i := range cfg.Notifiers {
		e.replicas = append(e.replicas, s.Notifier(t, i+1))
	}
	e.Notifier = e.replicas[0]
	return e
}

// receiver is a bank with a subscription of its own: it gets the events of its own department, and no others.
type receiver struct {
	*mockbank.Bank
	id         string // of the subscription
	department string
	engine     *engine
}

// subscribe runs a bank that answers as cfg says, and subscribes it.
func (e *engine) subscribe(t testing.TB, cfg mockbank.Config, change ...func(*notifierv1.Subscription)) *receiver {
	t.Helper()
	return e.subscribeBank(t, mockbank.Open(t, e.dir, cfg), "department "+id.New("sub"), change...)
}

func (e *engine) subscribeBank(t testing.TB, bank *mockbank.Bank, department string, change ...func(*notifierv1.Subscription)) *receiver {
	t.Helper()
	s := &notifierv1.Subscription{
		Name: strings.ReplaceAll(t.Name(), "/", " ") + " " + id.New("sub"), Url: bank.URL + "/hook", Secret: bank.Secret.Reveal(),
		Filter: fmt.Sprintf("event.data.employee.department == %q", department),
	}
	for _, c := range change {
		c(s)
	}
	return &receiver{Bank: bank, id: e.Subscribe(t, s).GetId(), department: department, engine: e}
}

// event is one that this receiver gets.
func (r *receiver) event(t testing.TB, employee string, version int) *notifierv1.Event {
	t.Helper()
	return programs.Event(t, employee, version, r.department)
}

// awaitCount waits until so many POSTs have come.
func (r *receiver) awaitCount(t testing.TB, n int, within time.Duration) {
	t.Helper()
	programs.Eventually(t, within, func() error {
		if got := r.Count(); got < n {
			return fmt.Errorf("%d POSTs came, want %d", got, n)
		}
		return nil
	})
}

// awaitBalance waits until the subscription's deliveries stand so.
func (r *receiver) awaitBalance(t testing.TB, want *notifierv1.Balance) {
	t.Helper()
	want.SubscriptionId = r.id
	r.engine.AwaitBalance(t, 15*time.Second, want)
}

// delivery is the one delivery of an event, with its attempts.
func (r *receiver) delivery(t testing.TB, e *notifierv1.Event) (*notifierv1.Delivery, []*notifierv1.Attempt) {
	t.Helper()
	return r.engine.Attempts(t, &notifierv1.ListDeliveriesRequest{SubscriptionId: r.id, EventId: e.GetId()})
}

// schedule sets the waits before the attempts.
func schedule(waits ...time.Duration) func(*notifierv1.Subscription) {
	return func(s *notifierv1.Subscription) {
		for _, w := range waits {
			s.RetrySchedule = append(s.RetrySchedule, durationpb.New(w))
		}
	}
}

// assertStable fails for a message whose id came with different bodies, or unsigned.
func assertStable(t testing.TB, requests []mockbank.Request) {
	t.Helper()
	first := map[string]mockbank.Request{}
	for _, r := range requests {
		if !r.Valid {
			t.Errorf("%s came with a signature that is wrong", r.ID)
		}
		if f, seen := first[r.ID]; seen && f.Body != r.Body {
			t.Errorf("%s came with different bodies", r.ID)
		} else if !seen {
			first[r.ID] = r
		}
	}
}
