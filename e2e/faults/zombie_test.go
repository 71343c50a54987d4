package faults_test

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// A replica is stopped for longer than its lease, with attempts under way and more in its queue. The other takes all of it over.
// When the first wakes up, it finds answers to attempts that are no longer its own, and a queue that is not either: it stores
// nothing of the one and sends nothing of the other.
func TestFrozenReplicaIsFenced(t *testing.T) {
	t.Parallel()
	cfg := stack.Config{Dir: t.TempDir(), DatabaseURL: programs.PostgresURL(t), Notifiers: 2, Env: map[string]map[string]string{
		"notifier": {"NOTIFIER_RETRY_SCHEDULE": "0s,1h"}, // nothing is tried again by the schedule
	}}
	s := programs.Start(t, cfg)
	frozen, other := s.Notifier(t, 1), s.Notifier(t, 2)

	const underWay, queued = 4, 40
	answer := make(chan struct{})
	arrived := make(chan struct{}, underWay)
	bank := mockbank.Start(t, cfg.Dir, func(r mockbank.Request) int {
		if r.Nth > 1 || !strings.HasPrefix(r.Employee, "emp-held") {
			return 200
		}
		arrived <- struct{}{}
		<-answer
		return 500 // what the zombie hears must not count
	})
	var release sync.Once
	t.Cleanup(func() { release.Do(func() { close(answer) }) })
	subscription := frozen.Subscribe(t, &notifierv1.Subscription{
		Name: "frozen", Url: bank.URL, Secret: bank.Secret.Reveal(), MaxInFlight: underWay,
	})
	published := map[string]time.Time{}
	for i := range underWay + queued {
		employee := fmt.Sprintf("emp-queued-%d", i)
		if i < underWay {
			employee = fmt.Sprintf("emp-held-%d", i)
		}
		event := programs.Event(t, employee, 1, "")
		published[event.GetId()] = time.Now()
		frozen.Publish(t, event)
		if i < underWay {
			<-arrived
		}
	}

	if err := frozen.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	time.Sleep(200 * time.Millisecond)   // all its threads stand still
	release.Do(func() { close(answer) }) // the answers wait in the zombie's sockets
	settle(t, other, subscription.GetId(), len(published), 20*time.Second)
	t.Logf("the other replica had done all of it %s after the first was frozen", time.Since(stopped).Round(time.Millisecond))
	if left := 13*time.Second - time.Since(stopped); left > 0 { // a lease is 10 s
		time.Sleep(left)
	}
	before := bank.Count()
	if err := frozen.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := frozen.Process.AwaitReady(t.Context(), s.Description.CAFile); err != nil {
		t.Fatal(err)
	}
	late := programs.Event(t, "emp-late", 1, "")
	frozen.Publish(t, late)
	settle(t, other, subscription.GetId(), len(published)+1, 10*time.Second)
	time.Sleep(500 * time.Millisecond)
	if after := bank.Count(); after != before+1 {
		t.Errorf("%d POSTs came after the zombie woke up, want the one that was published then", after-before)
	}
	l := readLedger(t, bank)
	published[late.GetId()] = time.Now()
	l.assertAll(t, published, underWay)
	for _, d := range other.List(t, &notifierv1.ListDeliveriesRequest{SubscriptionId: subscription.GetId()}) {
		full, err := other.Deliveries.GetDelivery(t.Context(), &notifierv1.GetDeliveryRequest{Id: d.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		if a := full.GetAttempts(); full.GetStatus() != notifierv1.Delivery_DELIVERED || len(a) != 1 || a[0].GetStatusCode() != 200 {
			t.Errorf("the zombie left its mark: %v", full)
		}
	}
}
