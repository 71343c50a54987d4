package faults_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/postgres"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/id"
	employeev1 "hirewire.dev/proto/employee/v1"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

var (
	crashes = flag.Int("crashes", 5, "how many times PostgreSQL crashes under load")
	outage  = flag.Duration("outage", 3*time.Second, "how long PostgreSQL stays down in one piece")
)

// outages is a stack on a PostgreSQL of its own, and what was created in it.
type outages struct {
	*programs.Stack
	server       *postgres.Server
	notifier     *programs.Notifier
	bank         *mockbank.Bank
	subscription string
	http         *http.Client
	created      map[string]string // employee id by number
}

// PostgreSQL crashes, is stopped, and hangs. No service has to be restarted; callers hear the truth in time; and in the end
// every employee has one account, and was told of once.
func TestPostgreSQLFails(t *testing.T) {
	server := ownPostgres(t)
	cfg := stack.Config{Dir: t.TempDir(), DatabaseURL: server.DSN, Banks: 1, Notifiers: 2, Env: map[string]map[string]string{
		"notifier": {"NOTIFIER_RETRY_SCHEDULE": "0s,200ms,500ms,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s"},
	}}
	o := &outages{Stack: programs.Start(t, cfg), server: server, created: map[string]string{}}
	t.Cleanup(func() { _ = server.Thaw() })
	o.notifier = o.Notifier(t, 1)
	o.bank = mockbank.Open(t, cfg.Dir, mockbank.Config{})
	o.subscription = o.notifier.Subscribe(t, &notifierv1.Subscription{Name: "outages", Url: o.bank.URL, Secret: o.bank.Secret.Reveal()}).GetId()
	o.http = programs.HTTPClient(t, o.Description.CAFile)

	t.Run("crashes under load", o.testCrashes)
	t.Run("stopped", o.testStopped)
	t.Run("frozen", o.testFrozen)
	awaitOneAccountEach(t, o.Stack, o.created)
	settle(t, o.notifier, o.subscription, len(o.created), 30*time.Second)
	l := readLedger(t, o.bank)
	told := map[string]int{} // events by employee
	for _, requests := range l {
		told[requests[0].Employee]++
	}
	for number, id := range o.created {
		if told[id] != 1 {
			t.Errorf("%s: the bank was told of %d events, want one", number, told[id])
		}
	}
	t.Logf("%d employees, %d events, %d POSTs", len(o.created), len(l), l.posts())
	if len(l) != len(o.created) {
		t.Errorf("%d events came of %d employees", len(l), len(o.created))
	}
	// What was under way when the database failed may be sent once more.
	if spare := 64 * (*crashes + 2); l.posts() > len(l)+spare {
		t.Errorf("%d POSTs for %d events, want at most %d more", l.posts(), len(l), spare)
	}
}

// create creates one employee; request and number are the same.
func (o *outages) create(ctx context.Context, number string) (*employeev1.Employee, error) {
	return o.Clients.Employees.CreateEmployee(ctx, &employeev1.CreateEmployeeRequest{RequestId: number, Employee: &employeev1.Employee{
		EmployeeNumber: number, GivenName: "Outage", FamilyName: number, Email: number + "@example.com", HireDate: "2026-01-05", Country: "FR", Currency: "EUR",
	}})
}

// mustServe creates one employee, which has to work within 3 seconds.
func (o *outages) mustServe(t *testing.T, number string) time.Duration {
	t.Helper()
	began := time.Now()
	programs.Eventually(t, 3*time.Second, func() error {
		e, err := o.create(t.Context(), number)
		if err == nil {
			o.created[number] = e.GetId()
		}
		return err
	})
	return time.Since(began)
}

func (o *outages) testCrashes(t *testing.T) {
	load := startLoad(t, o.Stack)
	var slowest time.Duration
	for i := range *crashes {
		time.Sleep(500 * time.Millisecond)
		if err := o.server.Crash(); err != nil {
			t.Fatal(err)
		}
		if err := o.server.Revive(t.Context()); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, o.mustServe(t, fmt.Sprintf("CRASH-%d", i)))
	}
	maps.Copy(o.created, load.stop())
	t.Logf("%d employees through %d crashes, %d calls repeated; served again at most %s after it was up", len(o.created), *crashes, load.repeated.Load(), slowest.Round(time.Millisecond))
	if len(o.created) < 20**crashes {
		t.Errorf("only %d employees were created: the load was no load", len(o.created))
	}
	programs.Eventually(t, 10*time.Second, func() error { return o.ready(http.StatusOK) })
}

// ready says which service does not answer the question for its readiness so, or is not alive.
func (o *outages) ready(want int) error {
	for name, p := range o.Processes {
		for url, want := range map[string]int{p.Ready: want, p.Ready[:len(p.Ready)-len("readyz")] + "healthz": http.StatusOK} {
			response, err := o.http.Get(url)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			response.Body.Close()
			if response.StatusCode != want {
				return fmt.Errorf("%s: %s answers %s, want %d", name, url, response.Status, want)
			}
		}
	}
	return nil
}

func (o *outages) testStopped(t *testing.T) {
	down := time.Now()
	if err := o.server.Shutdown(); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	programs.Eventually(t, 2*time.Second, func() error { return o.ready(http.StatusServiceUnavailable) })
	t.Logf("nobody is ready %s after the end of the database", time.Since(stopped).Round(time.Millisecond))
	for end := down.Add(*outage); ; {
		var wait sync.WaitGroup
		wait.Go(func() { o.testCreateUnavailable(t) })
		wait.Go(func() { o.testPublishUnavailable(t) })
		wait.Go(func() { o.testWebhookUnavailable(t, 2*time.Second) })
		wait.Wait()
		if time.Now().After(end) || t.Failed() {
			break
		}
		time.Sleep(300 * time.Millisecond)
	}
	if err := o.ready(http.StatusServiceUnavailable); err != nil {
		t.Error(err)
	}
	if err := o.server.Revive(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("served again after %s", o.mustServe(t, "STOPPED").Round(time.Millisecond))
	programs.Eventually(t, 3*time.Second, func() error { return o.ready(http.StatusOK) })
}

func (o *outages) testCreateUnavailable(t *testing.T) {
	began := time.Now()
	_, err := o.create(t.Context(), "NEVER-"+id.New("emp"))
	if took := time.Since(began); status.Code(err) != codes.Unavailable || took > 2*time.Second {
		t.Errorf("create without a database: %v after %s, want UNAVAILABLE within 2 s", err, took)
	}
}

func (o *outages) testPublishUnavailable(t *testing.T) {
	began := time.Now()
	_, err := o.notifier.Events.PublishEvents(t.Context(), &notifierv1.PublishEventsRequest{Events: []*notifierv1.Event{programs.Event(t, id.New("emp"), 1, "")}})
	if took := time.Since(began); status.Code(err) != codes.Unavailable || took > 3*time.Second {
		t.Errorf("publish without a database: %v after %s, want UNAVAILABLE within 3 s", err, took)
	}
}

// testWebhookUnavailable sends the bank a webhook that is well signed.
func (o *outages) testWebhookUnavailable(t *testing.T, within time.Duration) {
	bank := o.Description.Banks[0]
	secret, err := webhook.ParseSecret(bank.WebhookSecret)
	if err != nil {
		t.Error(err)
		return
	}
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		t.Error(err)
		return
	}
	event, at := id.New("evt"), time.Now()
	body := fmt.Appendf(nil, `{"id":%q,"type":"employee.created","timestamp":"2026-11-20T09:00:00Z","data":{}}`, event)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, bank.URL+"/webhooks/employees", bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	request.Header.Set("content-type", "application/json")
	request.Header.Set("webhook-id", event)
	request.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	request.Header.Set("webhook-signature", signer.Sign(event, at, body))
	response, err := o.http.Do(request)
	if err != nil {
		t.Errorf("webhook without a database: %v", err)
		return
	}
	response.Body.Close()
	after, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	if took := time.Since(at); response.StatusCode != http.StatusServiceUnavailable || after < 1 || took > within {
		t.Errorf("webhook without a database: %s, Retry-After %q, after %s; want 503 with one within %s", response.Status, response.Header.Get("Retry-After"), took, within)
	}
}

func (o *outages) testFrozen(t *testing.T) {
	if err := o.server.Freeze(); err != nil {
		t.Fatal(err)
	}
	frozen := time.Now()
	var wait sync.WaitGroup
	// Calls end by their deadlines: the caller's, or else the server's own of 10 s. What became of them nobody can say.
	for i, limit := range []time.Duration{300 * time.Millisecond, 2 * time.Second, time.Minute} {
		end := min(limit, 10*time.Second)
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := o.create(ctx, fmt.Sprintf("FROZEN-%d", i))
			assertEnded(t, "create", err, frozen, end)
		})
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := o.notifier.Subscriptions.ListSubscriptions(ctx, &notifierv1.ListSubscriptionsRequest{})
			assertEnded(t, "list", err, frozen, end)
		})
	}
	wait.Go(func() { o.testWebhookUnavailable(t, 6*time.Second) })
	programs.Eventually(t, 2*time.Second, func() error { return o.ready(http.StatusServiceUnavailable) })
	t.Logf("nobody is ready %s after the database hangs", time.Since(frozen).Round(time.Millisecond))
	wait.Wait()
	if err := o.server.Thaw(); err != nil {
		t.Fatal(err)
	}
	thawed := time.Now()
	for i := range 3 {
		o.mustServe(t, fmt.Sprintf("FROZEN-%d", i)) // with the same request id: one employee, whatever the first call did
	}
	programs.Eventually(t, 3*time.Second, func() error { return o.ready(http.StatusOK) })
	t.Logf("all as before %s after it goes on", time.Since(thawed).Round(time.Millisecond))
}

// assertEnded allows the second that a server takes to give up on a statement that it has cancelled.
func assertEnded(t *testing.T, what string, err error, began time.Time, limit time.Duration) {
	code := status.Code(err)
	if took := time.Since(began); code != codes.DeadlineExceeded && code != codes.Unavailable || took > limit+time.Second {
		t.Errorf("%s while the database hangs: %v after %s, want DEADLINE_EXCEEDED or UNAVAILABLE within %s", what, err, took, limit)
	}
}
