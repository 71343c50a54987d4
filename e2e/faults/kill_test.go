// Package faults_test injects faults from outside: it kills, freezes and cuts off real processes under load, and then counts.
package faults_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
	bankv1 "hirewire.dev/proto/bank/v1"
	employeev1 "hirewire.dev/proto/employee/v1"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

var (
	kills = flag.Int("kills", 200, "how many times a process is killed, on both engines together")
	seed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the random choices; printed, so that a run can be repeated")
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	programs.Remove()
	os.Exit(code)
}

func TestKilledAtRandomUnderLoadNothingIsLostOrDoubled(t *testing.T) {
	t.Logf("seed %d", *seed)
	programs.Engines(t, func(t *testing.T, databaseURL string) {
		// Short waits, so that what a kill interrupted is tried again while the test looks on.
		cfg := stack.Config{Banks: 2, DatabaseURL: databaseURL, Env: map[string]map[string]string{
			"notifier": {"NOTIFIER_RETRY_SCHEDULE": "0s,200ms,500ms,1s,2s,2s,2s,2s,2s,2s,2s,2s,2s,2s,2s,2s,2s,2s,2s,2s"},
		}}
		if databaseURL != "" {
			cfg.Notifiers = 2
		}
		s := programs.Start(t, cfg)
		random := rand.New(rand.NewPCG(*seed, 1))

		load := startLoad(t, s)
		killAtRandom(t, s, random, *kills/2)
		created := load.stop()
		t.Logf("%d employees created, %d calls had to be repeated", len(created), load.repeated.Load())
		if len(created) < *kills/2 {
			t.Fatalf("only %d employees were created: the load was no load", len(created))
		}
		awaitOneAccountEach(t, s, created)
		s.Notifier(t, 1).AwaitBalance(t, time.Minute, &notifierv1.Balance{Delivered: int64(len(created) * len(s.Clients.Banks))})
	})
}

// load creates employees without pause, and repeats a call with the same request id until it has an answer.
type load struct {
	cancel   context.CancelFunc
	wait     sync.WaitGroup
	repeated atomic.Int64

	mu      sync.Mutex
	created map[string]string // employee id by number
}

func startLoad(t *testing.T, s *programs.Stack) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel, created: map[string]string{}}
	for worker := range 4 {
		l.wait.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.create(t, s, fmt.Sprintf("K%d-%06d", worker, i))
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
	}
	return l
}

func (l *load) create(t *testing.T, s *programs.Stack, number string) {
	request := &employeev1.CreateEmployeeRequest{RequestId: number, Employee: &employeev1.Employee{
		EmployeeNumber: number, GivenName: "Kill", FamilyName: number, Email: number + "@example.com", HireDate: "2026-01-05", Country: "FR", Currency: "EUR",
	}}
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		e, err := s.Clients.Employees.CreateEmployee(ctx, request)
		cancel()
		if err == nil {
			l.mu.Lock()
			l.created[number] = e.GetId()
			l.mu.Unlock()
			return
		}
		l.repeated.Add(1)
		code := status.Code(err)
		if code != codes.Unavailable && code != codes.DeadlineExceeded && code != codes.Canceled && code != codes.Aborted || try > 300 {
			t.Errorf("create %s: %v", number, err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (l *load) stop() map[string]string {
	l.cancel()
	l.wait.Wait()
	return l.created
}

// killAtRandom kills one process after another with SIGKILL, each after a random time of life, and starts it again.
func killAtRandom(t *testing.T, s *programs.Stack, random *rand.Rand, n int) {
	t.Helper()
	var names []string
	for _, service := range []string{"employee-svc", "notifier-1", "notifier-2", "bank-1", "bank-2"} {
		if s.Processes[service] != nil {
			names = append(names, service)
		}
	}
	for i := range n {
		time.Sleep(time.Duration(random.IntN(120)) * time.Millisecond)
		p := s.Processes[names[i%len(names)]]
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		if random.IntN(3) > 0 { // sometimes it is killed while it starts
			if err := p.AwaitReady(t.Context(), s.Description.CAFile); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range names {
		if err := s.Processes[name].AwaitReady(t.Context(), s.Description.CAFile); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitOneAccountEach waits until each bank has exactly one account for each employee, and fails for what is lost or doubled.
func awaitOneAccountEach(t *testing.T, s *programs.Stack, created map[string]string) {
	t.Helper()
	for _, bank := range s.Clients.Banks {
		var lost, doubled, strange int
		for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			lost, doubled, strange = count(t, bank, created)
			if lost == 0 || doubled+strange > 0 {
				break
			}
		}
		if lost+doubled+strange > 0 {
			t.Errorf("%s: of %d accounts %d are lost, %d doubled, %d nobody's", bank.Name, len(created), lost, doubled, strange)
		}
	}
}

func count(t *testing.T, bank stack.Bank, created map[string]string) (lost, doubled, strange int) {
	t.Helper()
	accounts := map[string]int{}
	for _, id := range created {
		accounts[id] = 0
	}
	request := &bankv1.ListAccountsRequest{PageSize: 1000}
	for {
		page, err := bank.API.ListAccounts(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.GetAccounts() {
			if _, known := accounts[a.GetEmployeeId()]; !known {
				strange++
				continue
			}
			accounts[a.GetEmployeeId()]++
		}
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			break
		}
	}
	for _, n := range accounts {
		switch {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	return lost, doubled, strange
}
