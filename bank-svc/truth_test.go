package banksvc

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/platform/settings"
	employeev1 "hirewire.dev/proto/employee/v1"
)

// truth is a source of truth: employees in the order of their last change.
type truth struct {
	employeev1.UnimplementedEmployeeServiceServer

	addr settings.Addr

	mu     sync.Mutex
	order  []string // ids, the last changed last; "" where one was
	at     map[string]int
	states map[string]account.Employee
	down   bool
	asked  int
}

func newTruth(t *testing.T) *truth {
	t.Helper()
	tr := &truth{at: map[string]int{}, states: map[string]account.Employee{}}
	tr.addr = serveGRPC(t, func(s *grpc.Server) { employeev1.RegisterEmployeeServiceServer(s, tr) })
	return tr
}

func (tr *truth) set(all ...account.Employee) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, e := range all {
		if at, ok := tr.at[e.ID]; ok {
			tr.order[at] = ""
		}
		tr.at[e.ID], tr.states[e.ID] = len(tr.order), e
		tr.order = append(tr.order, e.ID)
	}
}

func (tr *truth) setDown(down bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.down = down
}

func (tr *truth) fetches() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.asked
}

func (tr *truth) GetEmployee(_ context.Context, req *employeev1.GetEmployeeRequest) (*employeev1.Employee, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.asked++
	if tr.down {
		return nil, status.Error(codes.Unavailable, "down")
	}
	e, ok := tr.states[req.Id]
	if !ok {
		return nil, status.Error(codes.NotFound, "employee not found")
	}
	return toProto(e), nil
}

func (tr *truth) ListEmployees(_ context.Context, req *employeev1.ListEmployeesRequest) (*employeev1.ListEmployeesResponse, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.down {
		return nil, status.Error(codes.Unavailable, "down")
	}
	at, _ := strconv.Atoi(req.PageToken)
	res := &employeev1.ListEmployeesResponse{}
	for ; at < len(tr.order) && len(res.Employees) < int(req.PageSize); at++ {
		if id := tr.order[at]; id != "" {
			res.Employees = append(res.Employees, toProto(tr.states[id]))
		}
	}
	if at < len(tr.order) {
		res.NextPageToken = strconv.Itoa(at)
	}
	return res, nil
}

func toProto(e account.Employee) *employeev1.Employee {
	given, family, _ := strings.Cut(e.HolderName, " ")
	p := &employeev1.Employee{Id: e.ID, GivenName: given, FamilyName: family, Currency: e.Currency, Version: int32(e.Version), Status: employeev1.Employee_ACTIVE}
	if e.Terminated {
		p.Status = employeev1.Employee_TERMINATED
	}
	return p
}

// alone is a bank without a notifier.
func alone(tr *truth) func(*Config) {
	return func(c *Config) {
		c.Register = false
		if tr != nil {
			c.EmployeeAddr = tr.addr
		}
	}
}
