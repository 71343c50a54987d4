package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"hirewire.dev/hirewire/internal/verdict"
	"hirewire.dev/hirewire/stack"
	employeev1 "hirewire.dev/proto/employee/v1"
)

// chainBatch is how many employees one batch call creates.
const chainBatch = 500

// chain measures from CreateEmployee to the accounts, with one bank and with three.
func (b *bench) chain(ctx context.Context) error {
	b.report.Chain, b.report.Batches = map[string]*Chain{}, map[string]*Chain{}
	for _, banks := range []int{1, 3} {
		var single, batched []*Chain
		for i := range b.Runs {
			b.progress("chain, %s, run %d of %d", count(strconv.Itoa(banks), "bank"), i+1, b.Runs)
			one, many, err := b.chainRun(ctx, banks)
			if err != nil {
				return err
			}
			single, batched = append(single, one), append(batched, many)
		}
		b.report.Chain[strconv.Itoa(banks)] = medianChain(single)
		b.report.Batches[strconv.Itoa(banks)] = medianChain(batched)
	}
	return nil
}

// chainRun starts a fresh stack and creates employees, first one a call and then in batches.
func (b *bench) chainRun(ctx context.Context, banks int) (single, batched *Chain, err error) {
	dir, err := os.MkdirTemp("", "hirewire-bench-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	running, err := stack.Start(ctx, stack.Config{Dir: dir, Banks: banks, DatabaseURL: b.DatabaseURL, Env: b.env()}, stack.Options{Command: b.Command, Log: b.Log})
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = running.Stop() }()
	description := &running.Plan.Description
	clients, err := description.Dial()
	if err != nil {
		return nil, nil, err
	}
	defer clients.Close()
	if err := clients.AwaitSubscriptions(ctx, description); err != nil {
		return nil, nil, err
	}
	if _, err := b.createAndAwait(ctx, clients, "w", b.Clients*4, 1); err != nil { // warm up
		return nil, nil, err
	}
	if single, err = b.createAndAwait(ctx, clients, "s", b.Employees, 1); err != nil {
		return nil, nil, err
	}
	batched, err = b.createAndAwait(ctx, clients, "b", b.Employees, chainBatch)
	return single, batched, err
}

// createAndAwait creates n employees, perCall in a call, and waits until every bank has their accounts.
func (b *bench) createAndAwait(ctx context.Context, clients *stack.Clients, prefix string, n, perCall int) (*Chain, error) {
	before, err := verdict.Judge(ctx, clients)
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	var failed atomic.Pointer[error]
	start := time.Now()
	var wait sync.WaitGroup
	for range b.Clients {
		wait.Go(func() {
			for {
				at := int(next.Add(int64(perCall))) - perCall
				if at >= n || ctx.Err() != nil || failed.Load() != nil {
					return
				}
				if err := create(ctx, clients.Employees, prefix, at, min(perCall, n-at)); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wait.Wait()
	created := time.Since(start)
	if err := failed.Load(); err != nil {
		return nil, fmt.Errorf("create employees: %w", *err)
	}
	want := before.Employees + n
	after, err := verdict.Await(ctx, clients, grace, func(verdict.Progress) {})
	if err != nil {
		return nil, err
	}
	if after.Employees != want {
		return nil, fmt.Errorf("%d employees are listed, %d were created", after.Employees, want)
	}
	c := &Chain{
		Employees: float64(n) / created.Seconds(), Accounts: float64(n*len(clients.Banks)) / after.Last.Sub(start).Seconds(),
		P50: after.P50, P99: after.P99, Lost: after.Lost, Duplicates: after.Duplicates,
	}
	return c, nil
}

func create(ctx context.Context, client employeev1.EmployeeServiceClient, prefix string, at, n int) error {
	requests := make([]*employeev1.CreateEmployeeRequest, n)
	for i := range requests {
		number := fmt.Sprintf("%s%08d", prefix, at+i)
		requests[i] = &employeev1.CreateEmployeeRequest{RequestId: number, Employee: &employeev1.Employee{
			EmployeeNumber: number, GivenName: "Guðrún", FamilyName: "Þorsteinsdóttir", Email: number + "@bench.example",
			JobTitle: "Engineer", Department: "Research", HireDate: "2026-01-05", Country: "DE", Currency: "EUR",
		}}
	}
	if n == 1 {
		_, err := client.CreateEmployee(ctx, requests[0])
		return err
	}
	_, err := client.BatchCreateEmployees(ctx, &employeev1.BatchCreateEmployeesRequest{Requests: requests})
	return err
}
