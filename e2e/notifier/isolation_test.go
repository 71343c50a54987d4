package notifier_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/latency"
	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// A bank that hangs, with 50 events a second for it alone, does not slow 49 others down, which get one a second each.
func TestHangingBankDoesNotSlowOthers(t *testing.T) {
	engines(t, func(t *testing.T, e *engine) {
		t.Parallel()
		before, hanging := isolation(t, e, 6*time.Second, 17*time.Second)
		t.Logf("p99 of 49 banks: %s, and while one hangs %s", before, hanging)
		if limit := max(before*12/10, 250*time.Millisecond); hanging > limit {
			t.Errorf("while one bank hangs, the p99 of the others is %s, want at most %s", hanging, limit)
		}
	})
}

// BenchmarkIsolation shows both figures, on SQLite, or with two replicas on PostgreSQL where there is one.
func BenchmarkIsolation(b *testing.B) {
	for _, name := range []string{"sqlite", "postgres"} {
		b.Run(name, func(b *testing.B) {
			url := ""
			if name == "postgres" {
				url = programs.PostgresURL(b)
			}
			e := startEngine(b, url)
			for b.Loop() {
				before, hanging := isolation(b, e, 15*time.Second, 45*time.Second)
				b.ReportMetric(float64(before.Microseconds())/1000, "baseline-p99-ms")
				b.ReportMetric(float64(hanging.Microseconds())/1000, "hanging-p99-ms")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// isolation gives the p99 from publishing to arrival at 49 banks, first while a fiftieth is well, and then while it hangs.
func isolation(t testing.TB, e *engine, well, ill time.Duration) (before, hanging time.Duration) {
	const banks = 50
	run := id.New("run")
	hang := make(chan struct{})
	var all []*receiver
	for i := range banks {
		cfg := mockbank.Config{}
		if i == 0 {
			cfg.Answer = func(ctx context.Context, _ mockbank.Request) mockbank.Answer {
				select {
				case <-hang:
					<-ctx.Done() // no answer until the sender hangs up
				default:
				}
				return mockbank.Answer{}
			}
		}
		all = append(all, e.subscribeBank(t, mockbank.Open(t, e.dir, cfg), fmt.Sprintf("bank %d %s", i, run), schedule(0, 500*time.Millisecond, time.Hour)))
	}
	toOne := programs.StartLoad(t, 50, func(i int) *notifierv1.Event { return all[0].event(t, fmt.Sprintf("emp-%s-%d", run, i), 1) }, e.replicas...)
	toOthers := programs.StartLoad(t, banks-1, func(i int) *notifierv1.Event {
		return all[1+i%(banks-1)].event(t, fmt.Sprintf("emp-%s-%d", run, i), 1)
	}, e.replicas...)
	time.Sleep(time.Second) // connections are made
	start := time.Now()
	time.Sleep(well)
	middle := time.Now()
	close(hang)
	time.Sleep(ill)
	end := time.Now()
	_ = toOne.Stop(t)
	published := toOthers.Stop(t)

	programs.Eventually(t, 10*time.Second, func() error {
		arrived := 0
		for _, r := range all[1:] {
			arrived += r.Count()
		}
		if arrived < len(published) {
			return fmt.Errorf("%d of %d events arrived", arrived, len(published))
		}
		return nil
	})
	var arrived []mockbank.Request
	for _, r := range all[1:] {
		arrived = append(arrived, r.Requests()...)
	}
	first, missing1 := programs.Latencies(published, start, middle, arrived)
	second, missing2 := programs.Latencies(published, middle, end, arrived)
	if missing1+missing2 > 0 || len(arrived) != len(published) {
		t.Errorf("%d events were published, %d arrived, %d are missing", len(published), len(arrived), missing1+missing2)
	}
	e.Balance(t, "")
	for _, r := range all[1:] {
		if b := e.Balance(t, r.id); b.GetDead() > 0 {
			t.Errorf("a bank that is well has dead deliveries: %v", b)
		}
	}
	return latency.Quantile(first, 0.99), latency.Quantile(second, 0.99)
}
