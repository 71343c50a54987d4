package sqlstore

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/bank-svc/internal/iban"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

// open gives a migrated store that a bank owns.
func open(t *testing.T, db *sqldb.DB) *Store {
	t.Helper()
	if err := Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	issuer, err := iban.NewIssuer("NO", "Nord")
	if err != nil {
		t.Fatal(err)
	}
	s := New(db, issuer)
	if _, err := s.Own(t.Context(), Bank{InstanceID: "bnk_1", Name: "Nord", Country: "NO", WebhookSecret: "whsec_x"}); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs the test on both engines.
func run(t *testing.T, test func(t *testing.T, s *Store)) {
	t.Helper()
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) { test(t, open(t, openDB(t))) })
}

func apply(t *testing.T, s *Store, changes ...account.Change) []Outcome {
	t.Helper()
	var out []Outcome
	err := s.db.InTx(t.Context(), func(tx *sqldb.Tx) (err error) {
		out, err = s.Apply(t.Context(), tx.Tx.Tx, changes)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return out
}

func created(event, emp, name string) account.Change {
	return account.Change{EventID: event, EmployeeID: emp, Version: 1, State: &account.Employee{ID: emp, HolderName: name, Currency: "NOK", Version: 1}}
}

func updated(event, emp, name string, version int64) account.Change {
	c := created(event, emp, name)
	c.Version, c.State.Version = version, version
	return c
}

func terminated(event, emp string, version int64) account.Change {
	return account.Change{EventID: event, EmployeeID: emp, Version: version, Terminated: true}
}

var noTimes = cmpopts.IgnoreFields(account.Account{}, "CreatedAt", "UpdatedAt", "ID")

func TestApplyStoresEachStepOfAnAccountsLife(t *testing.T) {
	run(t, func(t *testing.T, s *Store) {
		a, b, c := id.New("emp"), id.New("emp"), id.New("emp")
		out := apply(t, s, created("evt_1", a, "Ada"), created("evt_2", b, "Bo"), terminated("evt_3", c, 2))
		if out[0].Action != account.Opened || out[1].Action != account.Opened || out[2].Action != account.Entombed {
			t.Fatalf("%+v", out)
		}
		if out[2].AccountID != "" {
			t.Errorf("a tombstone has the account id %s", out[2].AccountID)
		}
		out = apply(t, s, updated("evt_4", a, "Ada L", 2), terminated("evt_5", b, 2), created("evt_6", c, "Cy"), updated("evt_7", a, "Eve", 9))
		want := []account.Action{account.Updated, account.Ended, account.Stale, account.Fetch}
		for i, w := range want {
			if out[i].Action != w {
				t.Errorf("change %d: %s, want %s", i, out[i].Action, w)
			}
		}
		all, err := s.Accounts(t.Context(), AccountFilter{}, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		one, _ := s.issuer.Number(1)
		two, _ := s.issuer.Number(2)
		if diff := cmp.Diff([]account.Account{
			{Number: one, HolderName: "Ada L", Currency: "NOK", Status: account.Open, EmployeeID: a, EmployeeVersion: 2, OpenedByEventID: "evt_1"},
			{Number: two, HolderName: "Bo", Currency: "NOK", Status: account.Closed, EmployeeID: b, EmployeeVersion: 2, OpenedByEventID: "evt_2"},
		}, all, noTimes); diff != "" {
			t.Error(diff)
		}
		for _, got := range all {
			if got.CreatedAt.IsZero() || got.UpdatedAt.Before(got.CreatedAt) || !id.Valid("acc", got.ID) {
				t.Errorf("%+v", got)
			}
			if one, err := s.Account(t.Context(), got.ID); err != nil || one != got {
				t.Errorf("%+v, %v", one, err)
			}
		}
		open := apply(t, s, updated("evt_8", c, "Cy", 3))
		if open[0].Action != account.Opened || open[0].AccountID == "" {
			t.Errorf("a newer active version over a tombstone: %+v", open[0])
		}
		if _, err := s.Account(t.Context(), id.New("acc")); !errors.Is(err, account.ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestEventsOfOneEmployeeInOneBatch(t *testing.T) {
	run(t, func(t *testing.T, s *Store) {
		a := id.New("emp")
		out := apply(t, s, created("evt_1", a, "Ada"), updated("evt_2", a, "Ada L", 2), updated("evt_2b", a, "Ada L", 2), terminated("evt_3", a, 3))
		want := []account.Action{account.Opened, account.Updated, account.Stale, account.Ended}
		for i, w := range want {
			if out[i].Action != w || out[i].AccountID != out[0].AccountID {
				t.Errorf("change %d: %+v, want %s", i, out[i], w)
			}
		}
		all, err := s.Accounts(t.Context(), AccountFilter{EmployeeID: a, Status: account.Closed}, "", 10)
		if err != nil || len(all) != 1 || all[0].EmployeeVersion != 3 || all[0].HolderName != "Ada L" {
			t.Errorf("%+v, %v", all, err)
		}
	})
}

func TestOneAccountHoweverManyOpenIt(t *testing.T) {
	run(t, func(t *testing.T, s *Store) {
		const employees, openers = 40, 8
		ids := make([]string, employees)
		for i := range ids {
			ids[i] = id.New("emp")
		}
		opened := make([]int, openers)
		var wg sync.WaitGroup
		for o := range openers {
			wg.Go(func() {
				for at := 0; at < employees; at += 10 {
					var changes []account.Change
					for _, e := range ids[at : at+10] {
						changes = append(changes, created(fmt.Sprintf("evt_%d", o), e, "Ada"))
					}
					for _, out := range apply(t, s, changes...) {
						if out.Action == account.Opened {
							opened[o]++
						}
						if out.AccountID == "" {
							t.Errorf("%+v", out)
						}
					}
				}
			})
		}
		wg.Wait()
		all, err := s.Accounts(t.Context(), AccountFilter{}, "", 1000)
		if err != nil || len(all) != employees {
			t.Fatalf("%d accounts, %v", len(all), err)
		}
		numbers, sum := map[string]bool{}, 0
		for _, a := range all {
			numbers[a.Number] = true
		}
		for _, n := range opened {
			sum += n
		}
		if len(numbers) != employees || sum != employees {
			t.Errorf("%d numbers, %d said that they opened one", len(numbers), sum)
		}
	})
}

func TestTerminationAndCreationRace(t *testing.T) {
	run(t, func(t *testing.T, s *Store) {
		for range 20 {
			e := id.New("emp")
			var wg sync.WaitGroup
			wg.Go(func() { apply(t, s, created("evt_1", e, "Ada")) })
			wg.Go(func() { apply(t, s, terminated("evt_2", e, 2)) })
			wg.Wait()
			all, err := s.Accounts(t.Context(), AccountFilter{EmployeeID: e}, "", 10)
			if err != nil || len(all) > 1 || len(all) == 1 && all[0].Status != account.Closed {
				t.Fatalf("%+v, %v", all, err)
			}
		}
	})
}

func TestReservedNumbersAreUsedOnce(t *testing.T) {
	run(t, func(t *testing.T, s *Store) {
		other := New(s.db, s.issuer) // another process
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				from := []*Store{s, other}[i%2]
				if i%4 < 2 {
					if err := from.Reserve(t.Context(), 3); err != nil {
						t.Error(err)
					}
				}
				apply(t, from, created("evt_1", id.New("emp"), "Ada"), created("evt_2", id.New("emp"), "Bo"), created("evt_3", id.New("emp"), "Cy"))
			})
		}
		wg.Wait()
		all, err := s.Accounts(t.Context(), AccountFilter{}, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		numbers := map[string]bool{}
		for _, a := range all {
			numbers[a.Number] = true
		}
		if len(all) != 120 || len(numbers) != 120 {
			t.Errorf("%d accounts with %d numbers", len(all), len(numbers))
		}
	})
}

// Norway has few numbers: neither restarts nor what is rolled back may use up many.
func TestNumbersAreNotWasted(t *testing.T) {
	var changes []account.Change
	for range 256 {
		changes = append(changes, created("evt_1", id.New("emp"), "Ada"))
	}
	tests := map[string]struct {
		most int64
		do   func(t *testing.T, s *Store)
	}{
		"restarts": {most: 13 * 20, do: func(t *testing.T, s *Store) {
			for range 20 {
				s = New(s.db, s.issuer)
				if err := s.Reserve(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
				apply(t, s, created("evt_1", id.New("emp"), "Ada"))
			}
		}},
		"rollbacks": {most: 256 + 256 /* in reserve */, do: func(t *testing.T, s *Store) {
			for range 20 {
				if err := s.Reserve(t.Context(), len(changes)); err != nil {
					t.Fatal(err)
				}
				tx, err := s.db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.Apply(t.Context(), tx, changes); err != nil {
					t.Error(err)
				}
				if err := tx.Rollback(); err != nil {
					t.Fatal(err)
				}
			}
			apply(t, s, changes...)
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *Store) {
				tt.do(t, s)
				var last int64
				if err := s.db.QueryRowContext(t.Context(), `SELECT last_serial FROM bank`).Scan(&last); err != nil {
					t.Fatal(err)
				}
				if last > tt.most {
					t.Errorf("%d numbers are used up, more than %d", last, tt.most)
				}
			})
		})
	}
}

func TestAccountsPage(t *testing.T) {
	run(t, func(t *testing.T, s *Store) {
		var changes []account.Change
		for i := range 25 {
			changes = append(changes, created(fmt.Sprint("evt_", i), id.New("emp"), "Ada"))
		}
		apply(t, s, changes...)
		after, seen := "", map[string]bool{}
		for range 3 {
			page, err := s.Accounts(t.Context(), AccountFilter{Status: account.Open}, after, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range page {
				seen[a.ID], after = true, a.ID
			}
		}
		if len(seen) != 25 {
			t.Errorf("%d accounts", len(seen))
		}
	})
}

func TestADatabaseBelongsToOneBank(t *testing.T) {
	run(t, func(t *testing.T, s *Store) {
		again, err := s.Own(t.Context(), Bank{InstanceID: "bnk_2", Name: "Nord", Country: "NO", WebhookSecret: "whsec_y"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetSubscription(t.Context(), "sub_1", "abc"); err != nil {
			t.Fatal(err)
		}
		again.SubscriptionID, again.RegisteredSecret = "sub_1", "abc"
		got, err := s.Bank(t.Context())
		if err != nil || got != again || got.InstanceID != "bnk_1" || got.WebhookSecret != "whsec_x" {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := s.Own(t.Context(), Bank{InstanceID: "bnk_3", Name: "Sud", Country: "NO"}); err == nil {
			t.Error("another bank's name is taken")
		}
		if _, err := s.Own(t.Context(), Bank{InstanceID: "bnk_3", Name: "Nord", Country: "DE"}); err == nil {
			t.Error("another country is taken")
		}
	})
}
