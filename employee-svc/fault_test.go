package employeesvc_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"hirewire.dev/platform/sqldb/sqldbtest"
	"hirewire.dev/platform/sqldb/sqldbtest/pgproxy"
	employeev1 "hirewire.dev/proto/employee/v1"
)

// behindProxy starts a service whose PostgreSQL is behind a proxy.
func behindProxy(t *testing.T) (*service, *notifier, *pgproxy.Proxy) {
	t.Helper()
	direct := sqldbtest.PostgresURL(t)
	proxy, err := pgproxy.Start(direct)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	n := startNotifier(t, "")
	s := startService(t, proxy.URL(direct), n.addr)
	s.db = sqldbtest.Open(t, direct)
	return s, n, proxy
}

// Whatever message between the service and its database is the last one of its connection: one employee, one event, and a
// client that is told the truth. The reply to COMMIT is among them (lib/pq#939).
func TestConnectionLostAtEachStep(t *testing.T) {
	t.Parallel()
	calls := map[string]func(ctx context.Context, c employeev1.EmployeeServiceClient, i int, made *employeev1.Employee) (proto.Message, error){
		"create": func(ctx context.Context, c employeev1.EmployeeServiceClient, i int, _ *employeev1.Employee) (proto.Message, error) {
			return c.CreateEmployee(ctx, &employeev1.CreateEmployeeRequest{Employee: person(i), RequestId: fmt.Sprintf("r-%d", i)})
		},
		"create without request id": func(ctx context.Context, c employeev1.EmployeeServiceClient, i int, _ *employeev1.Employee) (proto.Message, error) {
			return c.CreateEmployee(ctx, &employeev1.CreateEmployeeRequest{Employee: person(i)})
		},
		"batch": func(ctx context.Context, c employeev1.EmployeeServiceClient, i int, _ *employeev1.Employee) (proto.Message, error) {
			return c.BatchCreateEmployees(ctx, &employeev1.BatchCreateEmployeesRequest{Requests: []*employeev1.CreateEmployeeRequest{{Employee: person(i)}}})
		},
		"update": func(ctx context.Context, c employeev1.EmployeeServiceClient, i int, made *employeev1.Employee) (proto.Message, error) {
			return c.UpdateEmployee(ctx, &employeev1.UpdateEmployeeRequest{Employee: &employeev1.Employee{Id: made.GetId(), Email: fmt.Sprintf("new.%d@example.com", i), Version: 1}})
		},
		"terminate": func(ctx context.Context, c employeev1.EmployeeServiceClient, _ int, made *employeev1.Employee) (proto.Message, error) {
			return c.TerminateEmployee(ctx, &employeev1.TerminateEmployeeRequest{Id: made.GetId()})
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, n, proxy := behindProxy(t)
			employees, events := 0, 0
			for i, kind := range []pgproxy.Kind{pgproxy.Statement, pgproxy.Complete} {
				for step := 1; ; step++ {
					person := 1000*i + step
					var made *employeev1.Employee
					if name == "update" || name == "terminate" {
						made = s.create(t, person)
						employees, events = employees+1, events+1
					} else {
						employees++
					}
					events++
					waitFor(t, "the relay rests", func() bool { return len(n.received()) >= events-1 && s.outbox(t) == 0 })
					trigger := proxy.Add(pgproxy.Rule{Kind: kind, N: step, Action: pgproxy.Cut, Text: ""})
					first, err := call(t.Context(), s.client, person, made)
					if err != nil {
						t.Errorf("%v %d: %v", kind, step, err)
					}
					if name == "create" {
						again, err := call(t.Context(), s.client, person, made)
						if err != nil || !proto.Equal(first, again) {
							t.Errorf("%v %d: again: %v, %v, want %v", kind, step, again, err, first)
						}
					}
					waitFor(t, "the event", func() bool { return len(n.received()) >= events && s.outbox(t) == 0 })
					if got := s.count(t, "employees"); got != employees {
						t.Fatalf("%v %d: %d employees, want %d", kind, step, got, employees)
					}
					if got := len(n.received()); got != events {
						t.Fatalf("%v %d: %d events, want %d", kind, step, got, events)
					}
					if trigger.Count() > step+20 || step == 12 {
						break
					}
				}
			}
		})
	}
}

func (s *service) count(t *testing.T, table string) (n int) {
	t.Helper()
	if err := s.db.QueryRowContext(t.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *service) outbox(t *testing.T) int { t.Helper(); return s.count(t, "outbox") }

// Connections that die at random under load, at every moment: no employee twice, none lost, none without its event.
func TestConnectionsLostUnderLoad(t *testing.T) {
	t.Parallel()
	s, n, proxy := behindProxy(t)
	for k := range 40 { // a third of them at the reply to COMMIT
		rule := pgproxy.Rule{Kind: pgproxy.Complete, N: 40 + 37*k, Action: pgproxy.Cut}
		if k%3 == 0 {
			rule.Text, rule.N = "COMMIT", 10+11*k
		}
		proxy.Add(rule)
	}
	var mu sync.Mutex
	acknowledged := map[string]string{}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 60 {
				req := &employeev1.CreateEmployeeRequest{Employee: person(100*w + i), RequestId: fmt.Sprintf("r-%d-%d", w, i)}
				for {
					e, err := s.client.CreateEmployee(t.Context(), req)
					if err == nil {
						mu.Lock()
						acknowledged[e.GetEmployeeNumber()] = e.GetId()
						mu.Unlock()
						break
					}
					if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded && code != codes.Aborted {
						t.Errorf("a definitive answer for a good create: %v", err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if len(acknowledged) != 960 {
		t.Errorf("%d acknowledged", len(acknowledged))
	}
	if got := s.count(t, "employees"); got != 960 {
		t.Errorf("%d employees, want 960", got)
	}
	waitFor(t, "all events", func() bool { return len(n.received()) >= 960 && s.outbox(t) == 0 })
	told := map[string]bool{}
	for _, e := range n.received() {
		told[e.GetData().GetFields()["employee"].GetStructValue().GetFields()["id"].GetStringValue()] = true
	}
	for number, id := range acknowledged {
		if !told[id] {
			t.Errorf("nobody was told of %s", number)
		}
	}
	if len(told) != 960 {
		t.Errorf("events tell of %d employees", len(told))
	}
}

func TestDatabaseHangs(t *testing.T) {
	t.Parallel()
	s, n, proxy := behindProxy(t)
	s.create(t, 1)
	waitFor(t, "the event", func() bool { return len(n.received()) == 1 })
	proxy.Freeze()
	waitWithin(t, 3*time.Second, "readiness is false", func() bool { return s.ready(t) == http.StatusServiceUnavailable })
	if a := s.do(t, "GET", "/healthz", ""); a.code != 200 {
		t.Errorf("not alive: %d", a.code)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			began := time.Now()
			_, err := s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: person(2), RequestId: "r"})
			if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded {
				t.Errorf("call %d: %v", i, err)
			}
			if took := time.Since(began); took > 11*time.Second {
				t.Errorf("call %d took %v", i, took)
			}
		})
	}
	wg.Wait()
	proxy.Thaw()
	waitFor(t, "a create works", func() bool {
		_, err := s.client.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{Employee: person(2), RequestId: "r"})
		return err == nil
	})
	waitWithin(t, 3*time.Second, "readiness is true", func() bool { return s.ready(t) == http.StatusOK })
	if got := s.count(t, "employees"); got != 2 {
		t.Errorf("%d employees, want 2", got)
	}
	waitFor(t, "its event", func() bool { return len(n.received()) == 2 && s.outbox(t) == 0 })
}

func TestDatabaseGone(t *testing.T) {
	t.Parallel()
	s, _, proxy := behindProxy(t)
	made := s.create(t, 1)
	proxy.Close()
	for name, call := range map[string]func(ctx context.Context) error{
		"create": func(ctx context.Context) error {
			_, err := s.client.CreateEmployee(ctx, &employeev1.CreateEmployeeRequest{Employee: person(2)})
			return err
		},
		"get": func(ctx context.Context) error {
			_, err := s.client.GetEmployee(ctx, &employeev1.GetEmployeeRequest{Id: made.GetId()})
			return err
		},
		"list": func(ctx context.Context) error {
			_, err := s.client.ListEmployees(ctx, &employeev1.ListEmployeesRequest{})
			return err
		},
		"terminate": func(ctx context.Context) error {
			_, err := s.client.TerminateEmployee(ctx, &employeev1.TerminateEmployeeRequest{Id: made.GetId()})
			return err
		},
	} {
		began := time.Now()
		if err := call(t.Context()); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v, want UNAVAILABLE", name, err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	waitWithin(t, 2500*time.Millisecond, "readiness is false", func() bool { return s.ready(t) == http.StatusServiceUnavailable })
	if a := s.do(t, "POST", "/v1/employees", "{"+ada+"}"); a.code != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("REST: %d %v", a.code, a.header)
	}
}

func (s *service) ready(t *testing.T) int {
	t.Helper()
	return s.do(t, "GET", "/readyz", "").code
}

func waitWithin(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Errorf("not within %v: %s", limit, what)
}
