package faults_test

import (
	"context"
	"flag"
	"fmt"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/latency"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/serve"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

var restarts = flag.Int("restarts", 20, "how many times a replica of the notifier is restarted under load")

// balanced is a client of all replicas at once, as one has behind a name with several addresses.
func balanced(t *testing.T, s *programs.Stack, replicas int) *programs.Notifier {
	t.Helper()
	name := manual.NewBuilderWithScheme("replicas")
	var state resolver.State
	for i := range replicas {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: s.Processes[fmt.Sprintf("notifier-%d", i+1)].Env["NOTIFIER_GRPC_ADDR"]})
	}
	name.InitialState(state)
	conn, err := serve.DialGRPC(serve.ClientConfig{
		Addr: "replicas:///notifier", Key: s.Description.Notifier.AdminKey, Plaintext: true, Options: []grpc.DialOption{grpc.WithResolvers(name)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &programs.Notifier{
		Events: notifierv1.NewEventServiceClient(conn), Deliveries: notifierv1.NewDeliveryServiceClient(conn),
		Subscriptions: notifierv1.NewSubscriptionServiceClient(conn),
	}
}

// Replicas that are restarted one after the other, as a deployment does: no publisher sees an error, no event waits for a
// lease to run out, and none is sent twice.
func TestRollingRestartsUnderLoad(t *testing.T) {
	cfg := stack.Config{Dir: t.TempDir(), DatabaseURL: programs.PostgresURL(t), Notifiers: 2}
	s := programs.Start(t, cfg)
	n := balanced(t, s, cfg.Notifiers)
	bank := mockbank.Open(t, cfg.Dir, mockbank.Config{Answer: func(context.Context, mockbank.Request) mockbank.Answer {
		time.Sleep(20 * time.Millisecond) // so that a stop finds attempts under way
		return mockbank.Answer{}
	}})
	subscription := n.Subscribe(t, &notifierv1.Subscription{Name: "rolling", Url: bank.URL, Secret: bank.Secret.Reveal()})
	load := programs.StartLoad(t, 200, func(int) *notifierv1.Event { return programs.Event(t, id.New("emp"), 1, "") }, n)

	var slowest time.Duration
	for i := range *restarts {
		p := s.Processes[fmt.Sprintf("notifier-%d", i%cfg.Notifiers+1)]
		began := time.Now()
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		slowest = max(slowest, took)
		if code := p.ExitCode(); code != 0 || took > 10*time.Second {
			t.Errorf("restart %d: it ended with status %d after %s, want 0 within 10 s", i+1, code, took)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		if err := p.AwaitReady(t.Context(), s.Description.CAFile); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // clients find it again
	}
	published := load.Stop(t) // fails the test for each call that failed
	settle(t, n, subscription.GetId(), len(published), 20*time.Second)
	l := readLedger(t, bank)
	l.assertAll(t, published, 0)
	latencies, _ := programs.Latencies(published, time.Time{}, time.Now(), bank.Requests())
	t.Logf("%d events through %d restarts; the slowest stop took %s; p50 %s, p99 %s, slowest %s", len(published), *restarts, slowest.Round(time.Millisecond),
		latency.Quantile(latencies, 0.5).Round(time.Millisecond), latency.Quantile(latencies, 0.99).Round(time.Millisecond), latency.Quantile(latencies, 1).Round(time.Millisecond))
	if slowest := latency.Quantile(latencies, 1); slowest > 5*time.Second {
		t.Errorf("an event took %s: it waited for the lease of a replica that had stopped", slowest)
	}
}

// A second signal ends a notifier that waits for a bank at once, and what it was sending is sent again.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	programs.Engines(t, func(t *testing.T, databaseURL string) {
		t.Parallel()
		signal := syscall.SIGTERM
		if databaseURL != "" {
			signal = syscall.SIGINT
		}
		cfg := stack.Config{Dir: t.TempDir(), DatabaseURL: databaseURL}
		s := programs.Start(t, cfg)
		n := s.Notifier(t, 1)
		arrived := make(chan struct{}, 16)
		bank := mockbank.Open(t, cfg.Dir, mockbank.Config{Answer: func(ctx context.Context, r mockbank.Request) mockbank.Answer {
			if r.Nth == 1 {
				arrived <- struct{}{}
				<-ctx.Done() // no answer until the notifier hangs up
			}
			return mockbank.Answer{}
		}})
		subscription := n.Subscribe(t, &notifierv1.Subscription{Name: "second signal", Url: bank.URL, Secret: bank.Secret.Reveal()})
		event := programs.Event(t, id.New("emp"), 1, "")
		n.Publish(t, event)
		<-arrived

		stopped := make(chan error, 1)
		go func() { stopped <- n.Process.Signal(signal) }()
		time.Sleep(300 * time.Millisecond)
		select {
		case <-stopped:
			t.Fatal("it did not wait for the attempt that was under way")
		default:
		}
		second := time.Now()
		if err := n.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(second); took > time.Second {
			t.Errorf("it ended %s after the second %s", took, signal)
		}
		<-stopped
		if err := n.Process.Start(); err != nil {
			t.Fatal(err)
		}
		settle(t, n, subscription.GetId(), 1, 20*time.Second)
		l := readLedger(t, bank)
		l.assertAll(t, map[string]time.Time{event.GetId(): second}, 1)
	})
}
