package faults_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/sqldb/sqldbtest/pgproxy"
	employeev1 "hirewire.dev/proto/employee/v1"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// The reply of a COMMIT, or of an INSERT, is lost with its connection while the service lives on (lib/pq#939): there is one
// employee and one event, and a retry answers with the same employee.
func TestLostRepliesMakeNothingTwice(t *testing.T) {
	t.Parallel()
	cfg, proxy := behindProxy(t, stack.Config{Dir: t.TempDir(), DatabaseURL: programs.PostgresURL(t)}, "employee-svc", "EMPLOYEE_DATABASE_URL")
	s := programs.Start(t, cfg)
	n := s.Notifier(t, 1)
	bank := mockbank.Start(t, cfg.Dir, nil)
	subscription := n.Subscribe(t, &notifierv1.Subscription{Name: "lost replies", Url: bank.URL, Secret: bank.Secret.Reveal()})

	lost := []pgproxy.Rule{
		{Kind: pgproxy.Complete, Text: "COMMIT"},
		{Kind: pgproxy.Complete, Text: "INSERT"},
		{Kind: pgproxy.Statement, Text: "COMMIT"},
		{Kind: pgproxy.Complete},
		{Kind: pgproxy.Statement},
	}
	const rounds = 4
	ids := map[string]string{}
	hit := 0
	for round := range rounds {
		for i, rule := range lost {
			number := fmt.Sprintf("LOST-%d-%d", round, i)
			rule.N, rule.Action = 1+round%2, pgproxy.Cut
			trigger := proxy.Add(rule)
			first, err := createOnce(t, s, number)
			if err != nil && status.Code(err) != codes.Unavailable {
				t.Errorf("%s: %v, want it to work or to be UNAVAILABLE", number, err)
			}
			again := first
			for range 2 {
				programs.Eventually(t, 5*time.Second, func() error {
					again, err = createOnce(t, s, number)
					return err
				})
				if first != nil && again.GetId() != first.GetId() {
					t.Errorf("%s: the retry answers with another employee", number)
				}
				first = again
			}
			ids[number] = again.GetId()
			if trigger.Count() >= rule.N {
				hit++
			}
		}
	}
	if hit < len(lost)*rounds/2 {
		t.Errorf("%d of %d replies were lost: there was no fault", hit, len(lost)*rounds)
	}
	settle(t, n, subscription.GetId(), len(ids), 20*time.Second)
	employees := map[string]int{}
	request := &employeev1.ListEmployeesRequest{PageSize: 1000}
	list, err := s.Clients.Employees.ListEmployees(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.GetEmployees() {
		employees[e.GetEmployeeNumber()]++
	}
	for number := range ids {
		if employees[number] != 1 {
			t.Errorf("%s: %d employees", number, employees[number])
		}
	}
	told := map[string]int{}
	for _, requests := range readLedger(t, bank) {
		told[requests[0].Employee]++
	}
	if len(list.GetEmployees()) != len(ids) || len(told) != len(ids) {
		t.Errorf("%d employees, and events of %d, were made of %d creates", len(list.GetEmployees()), len(told), len(ids))
	}
	for employee, events := range told {
		if events != 1 {
			t.Errorf("%s: %d events", employee, events)
		}
	}
}

func createOnce(t *testing.T, s *programs.Stack, number string) (*employeev1.Employee, error) {
	return s.Clients.Employees.CreateEmployee(t.Context(), &employeev1.CreateEmployeeRequest{RequestId: number, Employee: &employeev1.Employee{
		EmployeeNumber: number, GivenName: "Lost", FamilyName: number, Email: number + "@example.com", HireDate: "2026-01-05", Country: "FR", Currency: "EUR",
	}})
}
