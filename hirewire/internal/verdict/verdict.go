// Package verdict compares what HR has with what the banks opened.
package verdict

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"hirewire.dev/hirewire/latency"
	"hirewire.dev/hirewire/stack"
	bankv1 "hirewire.dev/proto/bank/v1"
	employeev1 "hirewire.dev/proto/employee/v1"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// Verdict is the sum of a run. Its JSON is what hirewire demo --json prints last.
type Verdict struct {
	Employees  int   `json:"employees"`
	Banks      int   `json:"banks"`
	Deliveries int64 `json:"deliveries"`
	Accounts   int   `json:"accounts"`
	// Lost are the accounts that should be there and are not.
	Lost int `json:"lost"`
	// Duplicates are the accounts beyond one for each employee in each bank.
	Duplicates int `json:"duplicates"`
	// P50 and P99 are from the employee's creation to the account's, in milliseconds, over all accounts.
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	// Seconds is how long the whole took.
	Seconds float64 `json:"seconds"`
	// Refused are the rows of an import that were not stored.
	Refused int64 `json:"-"`
	// Last is when the last account was opened.
	Last time.Time `json:"-"`
}

// Good says that nothing was lost or doubled.
func (v Verdict) Good() bool { return v.Lost == 0 && v.Duplicates == 0 }

// Progress is how far the deliveries are.
type Progress struct{ Delivered, Pending, Dead int64 }

// Await waits until nothing is pending and every bank has an account for every employee, or until patience has passed
// without any progress, and then judges.
func Await(ctx context.Context, clients *stack.Clients, patience time.Duration, progress func(Progress)) (Verdict, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last, moved := Progress{}, time.Now()
	accounts := -1
	for {
		balance, err := clients.Deliveries.GetBalance(ctx, &notifierv1.GetBalanceRequest{})
		if err == nil {
			now := Progress{balance.GetDelivered(), balance.GetPending(), balance.GetDead()}
			if now != last {
				last, moved = now, time.Now()
			}
			progress(now)
			if now.Pending == 0 {
				v, err := Judge(ctx, clients)
				if err == nil && v.Accounts != accounts {
					accounts, moved = v.Accounts, time.Now()
				}
				if err == nil && v.Lost == 0 {
					return v, nil
				}
			}
		}
		if time.Since(moved) > patience {
			return Judge(ctx, clients)
		}
		select {
		case <-ctx.Done():
			return Verdict{}, ctx.Err()
		case <-tick.C:
		}
	}
}

// Judge reads every employee and every account through the public APIs and compares them.
func Judge(ctx context.Context, clients *stack.Clients) (Verdict, error) {
	created := map[string]time.Time{}
	for request := (&employeev1.ListEmployeesRequest{PageSize: 1000}); ; {
		page, err := clients.Employees.ListEmployees(ctx, request)
		if err != nil {
			return Verdict{}, fmt.Errorf("list employees: %w", err)
		}
		for _, e := range page.GetEmployees() {
			created[e.GetId()] = e.GetCreatedAt().AsTime()
		}
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			break
		}
	}
	v := Verdict{Employees: len(created), Banks: len(clients.Banks)}
	var latencies []time.Duration
	for _, bank := range clients.Banks {
		seen := make(map[string]bool, len(created))
		err := eachAccount(ctx, bank, func(a *bankv1.Account) {
			v.Accounts++
			opened := a.GetCreatedAt().AsTime()
			if opened.After(v.Last) {
				v.Last = opened
			}
			at, known := created[a.GetEmployeeId()]
			switch {
			case seen[a.GetEmployeeId()] || !known:
				v.Duplicates++
			default:
				seen[a.GetEmployeeId()] = true
				latencies = append(latencies, opened.Sub(at))
			}
		})
		if err != nil {
			return Verdict{}, fmt.Errorf("list the accounts of %s: %w", bank.Name, err)
		}
		v.Lost += len(created) - len(seen)
	}
	balance, err := clients.Deliveries.GetBalance(ctx, &notifierv1.GetBalanceRequest{})
	if err != nil {
		return Verdict{}, fmt.Errorf("read the balance: %w", err)
	}
	v.Deliveries = balance.GetDelivered()
	slices.Sort(latencies)
	v.P50, v.P99 = latency.Milliseconds(latency.Quantile(latencies, .50)), latency.Milliseconds(latency.Quantile(latencies, .99))
	return v, nil
}

func eachAccount(ctx context.Context, bank stack.Bank, visit func(*bankv1.Account)) error {
	request := &bankv1.ListAccountsRequest{PageSize: 1000}
	for {
		page, err := bank.API.ListAccounts(ctx, request)
		if err != nil {
			return err
		}
		for _, a := range page.GetAccounts() {
			visit(a)
		}
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return nil
		}
	}
}

// Print writes the verdict for people.
func (v Verdict) Print(w io.Writer) {
	fmt.Fprintf(w, "\n  employees   %8d\n  banks       %8d\n  deliveries  %8d\n  accounts    %8d\n  lost        %8d\n  duplicates  %8d\n", v.Employees, v.Banks, v.Deliveries, v.Accounts, v.Lost, v.Duplicates)
	if v.Refused > 0 {
		fmt.Fprintf(w, "  refused     %8d\n", v.Refused)
	}
	if v.Accounts > 0 {
		fmt.Fprintf(w, "  create to account: p50 %.1f ms, p99 %.1f ms\n", v.P50, v.P99)
	}
	fmt.Fprintf(w, "  in %.1f s\n\n", v.Seconds)
	switch {
	case !v.Good():
		fmt.Fprintf(w, "  NOT every employee has exactly one account in every bank.\n\n")
	case v.Employees == 0:
		fmt.Fprintf(w, "  There is no employee.\n\n")
	default:
		fmt.Fprintf(w, "  Every employee has exactly one account in every bank.\n\n")
	}
}
