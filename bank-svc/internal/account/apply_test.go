package account

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const emp = "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4"

func state(version int64, name string) *Employee {
	return &Employee{ID: emp, HolderName: name, Currency: "EUR", Version: version}
}

func ended(version int64, name string) *Employee {
	e := state(version, name)
	e.Terminated = true
	return e
}

func shown(version int64, name string, status Status) *Account {
	return &Account{
		ID: "acc_1", Number: "DE89370400440532013000", HolderName: name, Currency: "EUR", Status: status,
		EmployeeID: emp, EmployeeVersion: version, OpenedByEventID: "evt_1",
	}
}

func tomb(version int64) *Account {
	return &Account{ID: "acc_1", Status: Tombstone, EmployeeID: emp, EmployeeVersion: version}
}

func TestApply(t *testing.T) {
	created := func(v int64, s *Employee) Change {
		return Change{EventID: "evt_9", EmployeeID: emp, Version: v, State: s}
	}
	terminated := func(v int64, s *Employee) Change {
		return Change{EventID: "evt_9", EmployeeID: emp, Version: v, State: s, Terminated: true}
	}
	fetched := func(c Change, f *Employee) Change { c.Fetched = f; return c }
	opened := &Account{HolderName: "Ada", Currency: "EUR", Status: Open, EmployeeID: emp, EmployeeVersion: 1, OpenedByEventID: "evt_9"}
	rich := func(a *Account) *Account { a.BalanceMinor = 100; return a }
	dollars := func(e *Employee) *Employee { e.Currency = "USD"; return e }
	inDollars := func(a *Account) *Account { a.Currency = "USD"; return a }

	for _, tc := range []struct {
		name    string
		current *Account
		change  Change
		action  Action
		after   *Account // nil: as before
	}{
		{"created opens", nil, created(1, state(1, "Ada")), Opened, opened},
		{"created again is stale", shown(1, "Ada", Open), created(1, state(1, "Eve")), Stale, nil},
		{"created without state asks", nil, created(1, nil), Fetch, nil},
		{"created without state opens from what was fetched", nil, fetched(created(1, nil), state(1, "Ada")), Opened, opened},
		{"a first version above 1 asks", nil, created(3, state(3, "Ada")), Fetch, nil},
		{
			"update of an unknown employee opens from what was fetched", nil, fetched(created(3, state(3, "Ada")), state(4, "Ada L")), Opened,
			&Account{HolderName: "Ada L", Currency: "EUR", Status: Open, EmployeeID: emp, EmployeeVersion: 4, OpenedByEventID: "evt_9"},
		},
		{
			"update of an unknown employee who has left leaves a tombstone", nil, fetched(created(3, state(3, "Ada")), ended(4, "Ada")), Entombed,
			&Account{Status: Tombstone, EmployeeID: emp, EmployeeVersion: 4},
		},
		{"the next version renames", shown(1, "Ada", Open), created(2, state(2, "Ada L")), Updated, shown(2, "Ada L", Open)},
		{"an older version is stale", shown(3, "Ada", Open), created(2, state(2, "Eve")), Stale, nil},
		{"a gap asks", shown(1, "Ada", Open), created(3, state(3, "Eve")), Fetch, nil},
		{"a gap shows what was fetched", shown(1, "Ada", Open), fetched(created(3, state(3, "Eve")), state(5, "Eva")), Updated, shown(5, "Eva", Open)},
		{"what was fetched is older than the account", shown(1, "Ada", Open), fetched(created(3, nil), state(1, "Ada")), Stale, nil},
		{"currency follows while empty", shown(1, "Ada", Open), created(2, dollars(state(2, "Ada"))), Updated, inDollars(shown(2, "Ada", Open))},
		{"currency stays while there is money", rich(shown(1, "Ada", Open)), created(2, dollars(state(2, "Ada"))), Updated, rich(shown(2, "Ada", Open))},
		{"termination closes", shown(1, "Ada", Open), terminated(2, ended(2, "Ada")), Ended, shown(2, "Ada", Closed)},
		{"termination closes, whatever status it carries", shown(1, "Ada", Open), terminated(2, state(2, "Ada")), Ended, shown(2, "Ada", Closed)},
		{"termination without state closes", shown(1, "Ada", Open), terminated(2, nil), Ended, shown(2, "Ada", Closed)},
		{"termination after a gap asks", shown(1, "Ada", Open), terminated(3, ended(3, "Ada")), Fetch, nil},
		{"termination after a gap closes by what was fetched", shown(1, "Ada", Open), fetched(terminated(3, nil), ended(3, "Ada L")), Ended, shown(3, "Ada L", Closed)},
		{"termination first leaves a tombstone", nil, terminated(2, ended(2, "Ada")), Entombed, &Account{Status: Tombstone, EmployeeID: emp, EmployeeVersion: 2}},
		{"created after its end is stale", tomb(2), created(1, state(1, "Ada")), Stale, nil},
		{"a later end moves the tombstone", tomb(2), fetched(terminated(4, nil), ended(4, "Ada")), Entombed, tomb(4)},
		{"a newer active version opens over a tombstone", tomb(2), created(3, state(3, "Ada")), Opened, func() *Account {
			a := shown(3, "Ada", Open)
			a.Number, a.OpenedByEventID = "", "evt_9"
			return a
		}()},
		{"a newer active version reopens", shown(2, "Ada", Closed), created(3, state(3, "Ada")), Reopened, shown(3, "Ada", Open)},
		{"an update of a closed account keeps it closed", shown(2, "Ada", Closed), created(3, ended(3, "Ada L")), Updated, shown(3, "Ada L", Closed)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			after, action := Apply(tc.current, tc.change)
			if action != tc.action {
				t.Fatalf("action %q, want %q", action, tc.action)
			}
			want := tc.after
			if want == nil {
				if want = tc.current; want == nil {
					want = &Account{}
				}
			}
			if diff := cmp.Diff(*want, after); diff != "" {
				t.Error(diff)
			}
			if action.Writes() != (tc.after != nil) {
				t.Errorf("Writes is %v", action.Writes())
			}
		})
	}
}

func TestReconcile(t *testing.T) {
	for _, tc := range []struct {
		name     string
		current  *Account
		employee *Employee
		action   Action
	}{
		{"missing", nil, state(4, "Ada"), Opened},
		{"missing and gone", nil, ended(4, "Ada"), Entombed},
		{"right", shown(4, "Ada", Open), state(4, "Ada"), Stale},
		{"newer than what the source showed", shown(5, "Ada", Open), state(4, "Eve"), Stale},
		{"old", shown(3, "Ada", Open), state(4, "Ada"), Updated},
		{"right version, wrong name", shown(4, "Eve", Open), state(4, "Ada"), Updated},
		{"right version, wrong status", shown(4, "Ada", Closed), state(4, "Ada"), Reopened},
		{"still open", shown(3, "Ada", Open), ended(4, "Ada"), Ended},
		{"closed", shown(4, "Ada", Closed), ended(4, "Ada"), Stale},
		{"tombstone", tomb(4), ended(4, "Ada"), Stale},
		{"wrong tombstone", tomb(4), state(4, "Ada"), Opened},
	} {
		t.Run(tc.name, func(t *testing.T) {
			after, action := Reconcile(tc.current, *tc.employee)
			if action != tc.action {
				t.Fatalf("action %q, want %q", action, tc.action)
			}
			if action == Stale {
				return
			}
			if again, action := Reconcile(&after, *tc.employee); action != Stale {
				t.Errorf("a second time it is %q: %+v", action, again)
			}
		})
	}
}

func TestHolderName(t *testing.T) {
	for want, names := range map[string][2]string{
		"Ada Lovelace": {" Ada ", "Lovelace"},
		"Ada":          {"Ada", " "},
		"明 李":          {"明", "李"},
	} {
		if got := HolderName(names[0], names[1]); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
