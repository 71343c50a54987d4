package sqlstore

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/bank-svc/internal/reconcile"
	"hirewire.dev/platform/id"
)

func request(t *testing.T, s *Store, dryRun bool, requestID string, since time.Time) (reconcile.Report, bool) {
	t.Helper()
	r, made, err := s.Request(t.Context(), reconcile.Report{
		ID: id.New("rec"), Status: reconcile.Waiting, DryRun: dryRun, Trigger: reconcile.OnRequest, RequestedAt: now(),
	}, requestID, since)
	if err != nil {
		t.Fatal(err)
	}
	return r, made
}

func claim(t *testing.T, s *Store, lease time.Duration) (reconcile.Run, bool) {
	t.Helper()
	run, ok, err := s.Claim(t.Context(), lease)
	if err != nil {
		t.Fatal(err)
	}
	return run, ok
}

func employee(emp, name string, version int64) account.Employee {
	return account.Employee{ID: emp, HolderName: name, Currency: "NOK", Version: version}
}

func TestReconciliation(t *testing.T) {
	run(t, func(t *testing.T, s *Store) {
		missing, old, right, gone, orphan := id.New("emp"), id.New("emp"), id.New("emp"), id.New("emp"), id.New("emp")
		apply(t, s, created("e", old, "Old"), created("e", right, "Right"), created("e", gone, "Gone"), created("e", orphan, "Nobody"))
		left := employee(gone, "Gone", 2)
		left.Terminated = true
		pages := []reconcile.Page{
			{Employees: []account.Employee{employee(missing, "Missing", 4), employee(old, "New", 3)}, Next: "2"},
			{Employees: []account.Employee{employee(right, "Right", 1), left}},
		}
		want := reconcile.Counts{EmployeesChecked: 4, AccountsOpened: 1, AccountsUpdated: 1, AccountsClosed: 1, AccountsOrphaned: 1}
		for _, dryRun := range []bool{true, true, false} {
			request(t, s, dryRun, "", time.Time{})
			r, ok := claim(t, s, time.Minute)
			if !ok {
				t.Fatal("not claimed")
			}
			for _, p := range []reconcile.Page{pages[0], pages[0], pages[1], pages[1]} { // each stored twice, as after a lost reply
				var err error
				if r, err = s.Advance(t.Context(), r, p, time.Minute); err != nil {
					t.Fatal(err)
				}
				if r.PageToken != p.Next || r.Walked != (p.Next == "") {
					t.Errorf("at %q, walked %v", r.PageToken, r.Walked)
				}
			}
			rep, err := s.Finish(t.Context(), r, "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, rep.Counts); diff != "" {
				t.Errorf("dry run %v: %s", dryRun, diff)
			}
			if stored, err := s.Report(t.Context(), r.ID); err != nil || !cmp.Equal(stored, rep) || rep.Status != reconcile.Succeeded {
				t.Errorf("%v: %s", err, cmp.Diff(rep, stored))
			}
			all, _ := s.Accounts(t.Context(), AccountFilter{EmployeeID: orphan}, "", 1)
			if len(rep.OrphanedAccountIDs) != 1 || rep.OrphanedAccountIDs[0] != all[0].ID {
				t.Errorf("orphans %v", rep.OrphanedAccountIDs)
			}
		}
		all, err := s.Accounts(t.Context(), AccountFilter{}, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, a := range all {
			got[a.EmployeeID] = fmt.Sprint(a.HolderName, a.EmployeeVersion, a.Status, a.OpenedByEventID)
		}
		if diff := cmp.Diff(map[string]string{missing: "Missing4OPEN", old: "New3OPENe", right: "Right1OPENe", gone: "Gone2CLOSEDe", orphan: "Nobody1OPENe"}, got); diff != "" {
			t.Error(diff)
		}
		for more := true; more; {
			if more, err = s.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var n int
		if err := s.db.GetContext(t.Context(), &n, `SELECT count(*) FROM reconciled_employees`); err != nil || n != 0 {
			t.Errorf("%d left, %v", n, err)
		}
	})
}

func TestAReconciliationIsOneProcessesAtATime(t *testing.T) {
	run(t, func(t *testing.T, s *Store) {
		first, made := request(t, s, false, "once", time.Time{})
		again, madeAgain := request(t, s, false, "once", time.Time{})
		if !made || madeAgain || again.ID != first.ID {
			t.Fatalf("%v %v, %s and %s", made, madeAgain, first.ID, again.ID)
		}
		other := reconcile.Report{ID: id.New("rec"), DryRun: true, Trigger: reconcile.OnRequest, RequestedAt: now()}
		if _, _, err := s.Request(t.Context(), other, "once", time.Time{}); !errors.Is(err, reconcile.ErrRequestReused) {
			t.Errorf("the request id, for something else: %v", err)
		}
		if _, made := request(t, s, false, "", now()); made {
			t.Error("scheduled while one waits")
		}
		request(t, s, false, "", time.Time{})
		a, ok := claim(t, s, -time.Second) // and dies
		if !ok || a.ID != first.ID {
			t.Fatalf("%v %s", ok, a.ID)
		}
		b, ok := claim(t, s, time.Minute)
		if !ok || b.ID != first.ID || b.Lease == a.Lease {
			t.Fatalf("%v %s", ok, b.ID)
		}
		if _, ok := claim(t, s, time.Minute); ok {
			t.Error("a second one runs")
		}
		page := reconcile.Page{Employees: []account.Employee{employee(id.New("emp"), "Ada", 1)}}
		if _, err := s.Advance(t.Context(), a, page, time.Minute); !errors.Is(err, reconcile.ErrLost) {
			t.Errorf("the dead one advances: %v", err)
		}
		if err := s.Hold(t.Context(), a, time.Minute, "x"); !errors.Is(err, reconcile.ErrLost) {
			t.Errorf("the dead one holds: %v", err)
		}
		if _, err := s.Finish(t.Context(), a, "x"); !errors.Is(err, reconcile.ErrLost) {
			t.Errorf("the dead one finishes: %v", err)
		}
		if all, _ := s.Accounts(t.Context(), AccountFilter{}, "", 1); len(all) != 0 {
			t.Error("the dead one has opened an account")
		}
		if err := s.Hold(t.Context(), b, time.Minute, "the source is away"); err != nil {
			t.Error(err)
		}
		if rep, _ := s.Report(t.Context(), b.ID); rep.Error != "the source is away" {
			t.Errorf("%+v", rep)
		}
		if rep, err := s.Finish(t.Context(), b, "gave up"); err != nil || rep.Status != reconcile.Failed || rep.Error != "gave up" {
			t.Errorf("%+v, %v", rep, err)
		}
		if _, made := request(t, s, false, "", now().Add(-time.Minute)); made {
			t.Error("scheduled although one waits and one has run")
		}
		if c, ok := claim(t, s, time.Minute); !ok || c.ID == first.ID {
			t.Error("the next one does not run")
		}
	})
}

func TestReconciliationsAreClaimedOnceByMany(t *testing.T) {
	run(t, func(t *testing.T, s *Store) {
		for range 4 {
			request(t, s, false, "", time.Time{})
		}
		var mu sync.Mutex
		claimed := 0
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, ok := claim(t, s, time.Minute); ok {
					mu.Lock()
					claimed++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if claimed != 1 {
			t.Errorf("%d run at once", claimed)
		}
	})
}

func TestReportsAreKeptAndListed(t *testing.T) {
	run(t, func(t *testing.T, s *Store) {
		for range maxWaiting {
			request(t, s, false, "", time.Time{})
		}
		_, _, err := s.Request(t.Context(), reconcile.Report{ID: id.New("rec"), Trigger: reconcile.OnRequest, RequestedAt: now()}, "", time.Time{})
		if !errors.Is(err, reconcile.ErrTooMany) {
			t.Errorf("%v", err)
		}
		for range keepReports + 5 {
			r, ok := claim(t, s, time.Minute)
			if !ok {
				request(t, s, false, "", time.Time{})
				if r, ok = claim(t, s, time.Minute); !ok {
					t.Fatal("not claimed")
				}
			}
			if _, err := s.Finish(t.Context(), r, ""); err != nil {
				t.Fatal(err)
			}
		}
		first, err := s.Reports(t.Context(), "", 30)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := s.Reports(t.Context(), first[29].ID, 30)
		if err != nil || len(rest) != keepReports-30 || rest[0].ID >= first[29].ID {
			t.Errorf("%d more, %v", len(rest), err)
		}
		if _, err := s.Report(t.Context(), "rec_none"); !errors.Is(err, reconcile.ErrNotFound) {
			t.Error(err)
		}
	})
}
