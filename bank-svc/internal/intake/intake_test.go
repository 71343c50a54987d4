package intake

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/bank-svc/internal/sqlstore"
	"hirewire.dev/platform/id"
	"hirewire.dev/webhook"
	"hirewire.dev/webhook/inbox"
)

// store keeps accounts in memory, and decides as the real one does.
type store struct {
	accounts map[string]account.Account
	reads    int
	down     error
}

func (s *store) Current(_ context.Context, ids []string) (map[string]account.Account, error) {
	s.reads++
	found := map[string]account.Account{}
	for _, id := range ids {
		if a, ok := s.accounts[id]; ok {
			found[id] = a
		}
	}
	return found, s.down
}

func (s *store) Reserve(context.Context, int) error { return s.down }

func (s *store) Apply(_ context.Context, _ *sql.Tx, changes []account.Change) ([]sqlstore.Outcome, error) {
	out := make([]sqlstore.Outcome, len(changes))
	for i, c := range changes {
		var current *account.Account
		if a, ok := s.accounts[c.EmployeeID]; ok {
			current = &a
		}
		after, action := account.Apply(current, c)
		if action.Writes() {
			after.ID = "acc_" + c.EmployeeID
			s.accounts[c.EmployeeID] = after
		}
		out[i] = sqlstore.Outcome{Action: action, AccountID: after.ID}
	}
	return out, s.down
}

// source knows some employees.
type source struct {
	mu    sync.Mutex
	known map[string]account.Employee
	down  error
	asked int
}

func (s *source) Employee(_ context.Context, id string) (account.Employee, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.down != nil {
		return account.Employee{}, s.down
	}
	if e, ok := s.known[id]; ok {
		return e, nil
	}
	return account.Employee{}, account.ErrUnknownEmployee
}

func message(emp string, version int64, thin bool) *inbox.Event {
	rest := `,"given_name":"Ada","family_name":"Byron","currency":"EUR","status":"ACTIVE"`
	if thin {
		rest = ""
	}
	data := fmt.Sprintf(`{"employee":{"id":%q,"version":%d%s}}`, emp, version, rest)
	typ := "employee.updated"
	if version == 1 {
		typ = "employee.created"
	}
	return &inbox.Event{Event: webhook.Event{ID: id.New("evt"), Type: typ, Data: json.RawMessage(data)}}
}

// handle prepares and handles, and gives each event's outcome.
func handle(t *testing.T, in *Intake, events ...*inbox.Event) []string {
	t.Helper()
	in.Prepare(t.Context(), events)
	if err := in.Handle(t.Context(), nil, events); err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = e.Outcome
	}
	return out
}

func TestAsksOnlyWhereItMust(t *testing.T) {
	st, src := &store{accounts: map[string]account.Account{}}, &source{known: map[string]account.Employee{}}
	in := New(st, src, func(account.Action) {})
	a, b := id.New("emp"), id.New("emp")
	got := handle(t, in, message(a, 1, false), message(b, 1, false))
	if diff := cmp.Diff([]string{"opened", "opened"}, got); diff != "" || st.reads != 0 || src.asked != 0 {
		t.Errorf("%s%d reads, %d calls", diff, st.reads, src.asked)
	}
	// One after the other, a whole line in one batch needs nobody.
	c := id.New("emp")
	got = handle(t, in, message(c, 1, false), message(c, 2, false), message(a, 2, false), message(c, 3, false))
	if diff := cmp.Diff([]string{"opened", "updated", "updated", "updated"}, got); diff != "" || src.asked != 0 {
		t.Errorf("%s%d calls", diff, src.asked)
	}
	// Of two gaps of one employee, one call answers both.
	src.known[a] = account.Employee{ID: a, HolderName: "Ada King", Currency: "EUR", Version: 9}
	got = handle(t, in, message(a, 5, false), message(a, 7, true), message(b, 2, false))
	if diff := cmp.Diff([]string{"updated", "stale version", "updated"}, got); diff != "" || src.asked != 1 || st.accounts[a].EmployeeVersion != 9 {
		t.Errorf("%s%d calls, %+v", diff, src.asked, st.accounts[a])
	}
}

func TestCountsWhatItDid(t *testing.T) {
	counts := map[account.Action]int{}
	in := New(&store{accounts: map[string]account.Account{}}, &source{}, func(a account.Action) { counts[a]++ })
	a := id.New("emp")
	handle(t, in, message(a, 1, false), message(a, 1, false), message(a, 2, false))
	if diff := cmp.Diff(map[account.Action]int{account.Opened: 1, account.Stale: 1, account.Updated: 1}, counts); diff != "" {
		t.Error(diff)
	}
}

func TestSubject(t *testing.T) {
	a := id.New("emp")
	if s, err := Subject(message(a, 4, true).Event); err != nil || s.Key != a || s.Version != 4 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := Subject(webhook.Event{Type: "webhook.test", Data: json.RawMessage(`{}`)}); err != nil || s.Key != "" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := Subject(message("x", 1, true).Event); err == nil {
		t.Error("taken")
	}
}

// What cannot be fetched stays undecided; that it is tried again is for the tests of the whole bank to show.
func TestNothingIsGuessed(t *testing.T) {
	a := id.New("emp")
	for _, tc := range []struct {
		name  string
		event *inbox.Event
		src   *source
		st    *store
	}{
		{"the source is down", message(a, 1, true), &source{down: errors.New("down")}, &store{}},
		{"the source does not know the employee", message(a, 3, false), &source{}, &store{}},
		{"the source is behind", message(a, 3, false), &source{known: map[string]account.Employee{a: {ID: a, Version: 2}}}, &store{}},
		{"the accounts cannot be read", message(a, 3, false), &source{}, &store{down: errors.New("down")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.st.accounts = map[string]account.Account{}
			in := New(tc.st, tc.src, func(account.Action) {})
			in.Prepare(t.Context(), []*inbox.Event{tc.event})
			n, ok := tc.event.Note.(*note)
			if !ok || n.change.Fetched != nil {
				t.Errorf("%+v", tc.event.Note)
			}
			if _, action := account.Apply(nil, n.change); action != account.Fetch {
				t.Errorf("would be %s", action)
			}
		})
	}
	if err := New(&store{}, &source{}, nil).Handle(t.Context(), nil, []*inbox.Event{message(a, 1, false)}); err == nil {
		t.Error("an event that was not prepared is handled")
	}
}
