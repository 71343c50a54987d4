package faults_test

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// While there is no notifier, employees are accepted all the same, and the metrics show how many wait and for how long. When
// it is back, every bank hears of all of them, in order.
func TestEmployeesAreAcceptedWithoutANotifier(t *testing.T) {
	t.Parallel()
	programs.Engines(t, func(t *testing.T, databaseURL string) {
		t.Parallel()
		cfg := stack.Config{Dir: t.TempDir(), DatabaseURL: databaseURL}
		s := programs.Start(t, cfg)
		n := s.Notifier(t, 1)
		bank := mockbank.Start(t, cfg.Dir, nil)
		subscription := n.Subscribe(t, &notifierv1.Subscription{Name: "partition", Url: bank.URL, Secret: bank.Secret.Reveal()})
		client := programs.HTTPClient(t, s.Description.CAFile)
		depth := func() float64 { return metric(t, client, s.Description.Employee.HTTP, "employee_outbox_depth") }

		if err := n.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		const employees = 300
		began := time.Now()
		for i := range employees {
			if _, err := createOnce(t, s, fmt.Sprintf("PART-%d-%s", i, id.New("emp"))); err != nil {
				t.Fatalf("create without a notifier: %v", err)
			}
		}
		t.Logf("%d employees created in %s", employees, time.Since(began).Round(time.Millisecond))
		programs.Eventually(t, 10*time.Second, func() error {
			if d := depth(); d != employees {
				return fmt.Errorf("the metric says that %v events wait, want %d", d, employees)
			}
			return nil
		})
		const age = "employee_outbox_oldest_age_seconds"
		before := metric(t, client, s.Description.Employee.HTTP, age)
		time.Sleep(1500 * time.Millisecond)
		if after := metric(t, client, s.Description.Employee.HTTP, age); after-before < 1 || after > time.Since(began).Seconds()+1 {
			t.Errorf("the oldest event's age went from %.1f s to %.1f s in 1.5 s", before, after)
		}
		if ready := get(t, client, s.Description.Employee.HTTP+"/readyz"); ready.status != http.StatusOK {
			t.Errorf("without a notifier the employee service is not ready: %d", ready.status)
		}

		if err := n.Process.Start(); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		settle(t, n, subscription.GetId(), employees, 30*time.Second)
		t.Logf("drained %s after the notifier was started", time.Since(back).Round(time.Millisecond))
		programs.Eventually(t, 10*time.Second, func() error {
			if d := depth(); d != 0 {
				return fmt.Errorf("the metric says that %v events wait, want none", d)
			}
			return nil
		})
		l := readLedger(t, bank)
		if len(l) != employees || l.posts() != employees {
			t.Errorf("%d POSTs of %d events came for %d employees", l.posts(), len(l), employees)
		}
	})
}
