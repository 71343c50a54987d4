// Package flow_test runs the whole chain as a user would: through the public APIs of real processes.
package flow_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
	bankv1 "hirewire.dev/proto/bank/v1"
	employeev1 "hirewire.dev/proto/employee/v1"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

func TestMain(m *testing.M) {
	code := m.Run()
	programs.Remove()
	os.Exit(code)
}

func TestEveryChangeOfAnEmployeeReachesEveryBank(t *testing.T) {
	programs.Engines(t, func(t *testing.T, databaseURL string) {
		s := programs.Start(t, stack.Config{Banks: 2, DatabaseURL: databaseURL})
		ctx := t.Context()
		const n = 60
		want := map[string]*employeev1.Employee{}
		for i := range n {
			e, err := s.Clients.Employees.CreateEmployee(ctx, &employeev1.CreateEmployeeRequest{Employee: &employeev1.Employee{
				EmployeeNumber: fmt.Sprintf("F%04d", i), GivenName: "Zoë", FamilyName: fmt.Sprintf("李 %d", i), Email: fmt.Sprintf("f%d@example.com", i),
				HireDate: "2026-01-05", Country: "DE", Currency: "EUR",
			}, RequestId: fmt.Sprintf("flow-%d", i)})
			if err != nil {
				t.Fatal(err)
			}
			want[e.GetId()] = e
		}
		i := 0
		for id, e := range want {
			var err error
			switch i++; i % 3 {
			case 0: // left as created
				continue
			case 1:
				e, err = s.Clients.Employees.UpdateEmployee(ctx, &employeev1.UpdateEmployeeRequest{
					Employee: &employeev1.Employee{Id: id, FamilyName: "Ångström"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"family_name"}},
				})
			case 2:
				e, err = s.Clients.Employees.TerminateEmployee(ctx, &employeev1.TerminateEmployeeRequest{Id: id})
			}
			if err != nil {
				t.Fatal(err)
			}
			want[id] = e
		}
		for _, bank := range s.Clients.Banks {
			awaitAccounts(t, bank, want)
		}
		assertBalanced(t, s, int64(n+2*n/3)*2)
	})
}

// awaitAccounts waits until the bank's accounts show every employee as wanted, and fails with the first difference.
func awaitAccounts(t *testing.T, bank stack.Bank, want map[string]*employeev1.Employee) {
	t.Helper()
	difference := ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if difference = compare(t.Context(), bank, want); difference == "" {
			return
		}
	}
	t.Fatalf("%s: %s", bank.Name, difference)
}

func compare(ctx context.Context, bank stack.Bank, want map[string]*employeev1.Employee) string {
	list, err := bank.API.ListAccounts(ctx, &bankv1.ListAccountsRequest{PageSize: 1000})
	if err != nil {
		return err.Error()
	}
	if got := len(list.GetAccounts()); got != len(want) {
		return fmt.Sprintf("%d accounts for %d employees", got, len(want))
	}
	for _, a := range list.GetAccounts() {
		e := want[a.GetEmployeeId()]
		status := bankv1.Account_OPEN
		if e.GetStatus() == employeev1.Employee_TERMINATED {
			status = bankv1.Account_CLOSED
		}
		if a.GetHolderName() != e.GetGivenName()+" "+e.GetFamilyName() || a.GetEmployeeVersion() != e.GetVersion() || a.GetStatus() != status {
			return fmt.Sprintf("account %v does not show employee %v", a, e)
		}
	}
	return ""
}

// assertBalanced checks that every delivery that was fanned out is accounted for, and delivered.
func assertBalanced(t *testing.T, s *programs.Stack, fannedOut int64) {
	t.Helper()
	balance := &notifierv1.Balance{}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var err error
		if balance, err = s.Clients.Deliveries.GetBalance(t.Context(), &notifierv1.GetBalanceRequest{}); err != nil {
			t.Fatal(err)
		}
		if balance.GetPending() == 0 && balance.GetDelivered() == fannedOut {
			break
		}
	}
	if balance.GetFannedOut() != fannedOut || balance.GetDelivered() != fannedOut || balance.GetPending()+balance.GetDead()+balance.GetCancelled() != 0 {
		t.Errorf("balance %v, want %d fanned out and delivered", balance, fannedOut)
	}
}
