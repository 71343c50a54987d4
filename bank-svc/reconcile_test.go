package banksvc

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
	bankv1 "hirewire.dev/proto/bank/v1"
)

// reconcile runs a reconciliation and waits for its report.
func (b *bank) reconcile(t *testing.T, dryRun bool) *bankv1.Reconciliation {
	t.Helper()
	r, err := b.api.CreateReconciliation(t.Context(), &bankv1.CreateReconciliationRequest{
		Reconciliation: &bankv1.Reconciliation{DryRun: dryRun}, RequestId: id.New("req"),
	})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "end of the reconciliation", func() bool {
		if r, err = b.api.GetReconciliation(t.Context(), &bankv1.GetReconciliationRequest{Id: r.Id}); err != nil {
			t.Fatal(err)
		}
		return r.Status != bankv1.Reconciliation_RUNNING
	})
	if r.Status != bankv1.Reconciliation_SUCCEEDED {
		t.Fatalf("%v", r)
	}
	return r
}

// A thousand inbox rows and accounts go missing behind the bank's back, and come back; the notifier is down all along.
func TestWhatWasLostComesBack(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		const all, lost = 1200, 1000
		tr := newTruth(t)
		b := start(t, url, func(c *Config) { c.EmployeeAddr, c.Register = tr.addr, true })
		events := make([]fact, all)
		for i := range events {
			events[i] = created(person(fmt.Sprint("Ada N", i)))
			tr.set(events[i].employee)
		}
		b.sendAll(t, 16, events)
		b.settled(t)
		nobody := created(person("No Body")) // an account that the source of truth knows nothing of
		b.mustSend(t, nobody)
		b.settled(t)
		before := b.accounts(t)
		if len(before) != all+1 {
			t.Fatalf("%d accounts", len(before))
		}
		db := sqldbtest.Open(t, url)
		deleteLost(t, db, events[:lost])
		if n := len(b.accounts(t)); n != all+1-lost {
			t.Fatalf("%d accounts are left", n)
		}
		renamed, _ := next(events[lost].employee, func(e *account.Employee) { e.HolderName = "Ada Renamed" })
		left, _ := next(events[lost+1].employee, func(e *account.Employee) { e.Terminated = true })
		tr.set(renamed, left)

		want := &bankv1.Reconciliation{EmployeesChecked: all, AccountsOpened: lost, AccountsUpdated: 1, AccountsClosed: 1, AccountsOrphaned: 1}
		dry := b.reconcile(t, true)
		if !sameCounts(dry, want) {
			t.Errorf("dry run: %v", dry)
		}
		if n := len(b.accounts(t)); n != all+1-lost {
			t.Fatalf("the dry run has changed something: %d accounts", n)
		}
		done := b.reconcile(t, false)
		if !sameCounts(done, want) || len(done.OrphanedAccountIds) != 1 || done.OrphanedAccountIds[0] != before[nobody.employee.ID].Id {
			t.Errorf("%v", done)
		}
		after := b.accounts(t)
		if len(after) != all+1 || after[renamed.ID].HolderName != "Ada Renamed" || after[left.ID].Status != bankv1.Account_CLOSED {
			t.Errorf("%d accounts", len(after))
		}
		if again := b.reconcile(t, false); !sameCounts(again, &bankv1.Reconciliation{EmployeesChecked: all, AccountsOrphaned: 1}) {
			t.Errorf("a second time: %v", again)
		}
		// The sender comes again with what it was never told is done: nothing doubles.
		b.sendAll(t, 16, events[:100])
		b.settled(t)
		if n := len(b.accounts(t)); n != all+1 {
			t.Errorf("%d accounts", n)
		}
	})
}

func deleteLost(t *testing.T, db *sqldb.DB, events []fact) {
	t.Helper()
	err := db.InTx(t.Context(), func(tx *sqldb.Tx) error {
		for _, e := range events {
			if _, err := tx.ExecContext(t.Context(), `DELETE FROM inbox_events WHERE id = $1`, e.id); err != nil {
				return err
			}
			if _, err := tx.ExecContext(t.Context(), `DELETE FROM accounts WHERE employee_id = $1`, e.employee.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sameCounts(a, b *bankv1.Reconciliation) bool {
	return a.EmployeesChecked == b.EmployeesChecked && a.AccountsOpened == b.AccountsOpened && a.AccountsUpdated == b.AccountsUpdated &&
		a.AccountsClosed == b.AccountsClosed && a.AccountsOrphaned == b.AccountsOrphaned
}

// However events are duplicated, reordered and dropped on the way, one reconciliation later the accounts show the source of truth.
func TestAnyInterleavingAndOneReconciliation(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		tr := newTruth(t)
		b := start(t, url, alone(tr))
		rapid.Check(t, func(rt *rapid.T) {
			var final []account.Employee
			var events []fact
			for range rapid.IntRange(1, 4).Draw(rt, "employees") {
				e := person(rapid.SampledFrom([]string{"Ada Byron", "Bo Ek", "Cy Oh"}).Draw(rt, "name"))
				life := []fact{created(e)}
				for range rapid.IntRange(0, 3).Draw(rt, "changes") {
					var f fact
					e, f = next(e, func(e *account.Employee) {
						e.HolderName = rapid.SampledFrom([]string{"Ada King", "Bo Li", "Cy Eh"}).Draw(rt, "name")
					})
					life = append(life, f)
				}
				if rapid.Bool().Draw(rt, "leaves") {
					var f fact
					e, f = next(e, func(e *account.Employee) { e.Terminated = true })
					life = append(life, f)
				}
				for _, f := range life {
					f.thin = rapid.Bool().Draw(rt, "thin")
					for range rapid.IntRange(0, 2).Draw(rt, "times") {
						events = append(events, f)
					}
				}
				final = append(final, e)
			}
			tr.set(final...)
			if len(events) > 0 {
				events = rapid.Permutation(events).Draw(rt, "order")
			}
			if rapid.Bool().Draw(rt, "at once") {
				b.sendAll(t, 4, events)
			} else {
				b.mustSend(t, events...)
			}
			b.settled(t)
			b.reconcile(t, false)
			for _, e := range final {
				res, err := b.api.ListAccounts(t.Context(), &bankv1.ListAccountsRequest{EmployeeId: e.ID})
				if err != nil {
					rt.Fatal(err)
				}
				switch n := len(res.Accounts); {
				case n > 1:
					rt.Fatalf("%d accounts", n)
				case n == 0 && !e.Terminated:
					rt.Fatalf("%s has no account", e.ID)
				case n == 1:
					a := res.Accounts[0]
					if int64(a.EmployeeVersion) != e.Version || a.HolderName != e.HolderName || (a.Status == bankv1.Account_CLOSED) != e.Terminated {
						rt.Fatalf("%v does not show %+v", a, e)
					}
				}
			}
		})
	})
}
