package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/bank-svc/internal/iban"
	"hirewire.dev/bank-svc/internal/reconcile"
	"hirewire.dev/bank-svc/internal/sqlstore"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
)

// source is a source of truth with ten employees on each of its pages.
type source struct {
	pages int

	mu    sync.Mutex
	down  bool
	block int // a page that is never answered; 0 for none
	asked []string
}

var errDown = errors.New("source is down")

func (s *source) Page(ctx context.Context, token string) (reconcile.Page, error) {
	s.mu.Lock()
	s.asked = append(s.asked, token)
	at, _ := strconv.Atoi(token)
	down, blocked := s.down, s.block > 0 && at == s.block
	s.mu.Unlock()
	if blocked {
		<-ctx.Done()
		return reconcile.Page{}, ctx.Err()
	}
	if down {
		return reconcile.Page{}, errDown
	}
	var p reconcile.Page
	for i := range 10 {
		p.Employees = append(p.Employees, account.Employee{ID: fmt.Sprintf("emp_%d_%d", at, i), HolderName: "Ada", Currency: "EUR", Version: 1})
	}
	if at+1 < s.pages {
		p.Next = strconv.Itoa(at + 1)
	}
	return p, nil
}

func (s *source) set(change func(*source)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *source) tokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// inBubble runs test in virtual time over a real SQLite file.
func inBubble(t *testing.T, test func(t *testing.T, store *sqlstore.Store, start func(reconcile.Source) (stop func()))) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bank.db")
	synctest.Test(t, func(t *testing.T) {
		db, err := sqldb.Open(t.Context(), "sqlite:"+file)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := sqlstore.Migrate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		issuer, err := iban.NewIssuer("DE", "Bank")
		if err != nil {
			t.Fatal(err)
		}
		store := sqlstore.New(db, issuer)
		if _, err := store.Own(t.Context(), sqlstore.Bank{InstanceID: "bnk_1", Name: "Bank", Country: "DE"}); err != nil {
			t.Fatal(err)
		}
		var stops []func()
		defer func() {
			for _, stop := range stops {
				stop()
			}
		}()
		test(t, store, func(src reconcile.Source) func() {
			r := reconcile.NewRunner(reconcile.Config{
				Store: store, Source: src, NewID: func() string { return id.New("rec") }, Interval: 10 * time.Minute, Logger: slog.New(slog.DiscardHandler),
			})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			stop := sync.OnceFunc(func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
			stops = append(stops, stop)
			return stop
		})
	})
}

func reports(t *testing.T, store *sqlstore.Store) []reconcile.Report {
	t.Helper()
	all, err := store.Reports(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestReconcilesAtStartAndAtEachInterval(t *testing.T) {
	inBubble(t, func(t *testing.T, store *sqlstore.Store, start func(reconcile.Source) func()) {
		start(&source{pages: 3})
		start(&source{pages: 3}) // another replica of the bank
		time.Sleep(55 * time.Minute)
		all := reports(t, store)
		if n := len(all); n < 5 || n > 7 {
			t.Errorf("%d reconciliations in 55 minutes", n)
		}
		opened := int64(0)
		for _, r := range all {
			opened += r.AccountsOpened
			if r.Status != reconcile.Succeeded || r.EmployeesChecked != 30 {
				t.Errorf("%+v", r)
			}
		}
		if opened != 30 {
			t.Errorf("%d accounts opened", opened)
		}
	})
}

func TestWaitsForASourceThatIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, store *sqlstore.Store, start func(reconcile.Source) func()) {
		src := &source{pages: 2, down: true}
		start(src)
		time.Sleep(5 * time.Minute)
		if all := reports(t, store); len(all) != 1 || all[0].Status != reconcile.Running || all[0].Error == "" {
			t.Fatalf("%+v", all)
		}
		src.set(func(s *source) { s.down = false })
		time.Sleep(10 * time.Second)
		if all := reports(t, store); len(all) != 1 || all[0].Status != reconcile.Succeeded || all[0].Error != "" || all[0].AccountsOpened != 20 {
			t.Errorf("%+v", all)
		}
		if n := len(src.tokens()); n < 50 || n > 200 {
			t.Errorf("asked %d times in five minutes", n)
		}
	})
}

func TestGivesUpOnASourceThatStaysDown(t *testing.T) {
	inBubble(t, func(t *testing.T, store *sqlstore.Store, start func(reconcile.Source) func()) {
		start(&source{pages: 2, down: true})
		time.Sleep(16 * time.Minute)
		all := reports(t, store)
		if len(all) == 0 {
			t.Fatal("none")
		}
		all = all[len(all)-1:]
		if all[0].Status != reconcile.Failed || all[0].Error != "read employees: source is down" {
			t.Errorf("%+v", all)
		}
	})
}

func TestGoesOnWhereAnotherProcessStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, store *sqlstore.Store, start func(reconcile.Source) func()) {
		first := &source{pages: 6, block: 3}
		stop := start(first)
		time.Sleep(time.Second)
		stop()
		second := &source{pages: 6}
		start(second)
		time.Sleep(time.Minute)
		all := reports(t, store)
		if len(all) != 1 || all[0].Status != reconcile.Succeeded || all[0].EmployeesChecked != 60 || all[0].AccountsOpened != 60 {
			t.Errorf("%+v", all)
		}
		if got := second.tokens(); len(got) != 3 || got[0] != "3" {
			t.Errorf("the second process read the pages %q", got)
		}
	})
}
