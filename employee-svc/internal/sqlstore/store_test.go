package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/employee-svc/internal/outbox"
	"hirewire.dev/employee-svc/internal/sqlstore"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

var hr = employee.Caller{Name: "hr", Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}

// open makes a running store on a new database.
func open(t *testing.T, db *sqldb.DB) *sqlstore.Store {
	t.Helper()
	if err := sqlstore.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	return start(t, db, outbox.NewHandoff(1000))
}

// start makes a running store on a migrated database.
func start(t *testing.T, db *sqldb.DB, handoff *outbox.Handoff) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.New(t.Context(), sqlstore.Config{DB: db, Handoff: handoff, Encode: encode})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func encode(e employee.Event) ([]byte, error) {
	return fmt.Appendf(nil, "%s %s %d %s", e.Type, e.Employee.ID, e.Employee.Version, e.Traceparent), nil
}

// person is the n-th employee.
func person(n int) employee.Employee {
	return employee.Employee{
		Number: fmt.Sprintf("E-%d", n), GivenName: "Zoë", FamilyName: "李", Email: fmt.Sprintf("Zoë.%d@example.com", n),
		JobTitle: `'; DROP TABLE employees;-- "\`, Department: "", HireDate: "2026-11-20", Country: "DE", Currency: "EUR",
	}
}

func create(t *testing.T, s *sqlstore.Store, e employee.Employee) employee.Employee {
	t.Helper()
	r, err := s.Create(t.Context(), hr, employee.Create{Employee: e})
	if err != nil {
		t.Fatal(err)
	}
	return r.Employee
}

// counts are the rows of the tables.
type counts struct{ Employees, Outbox, Requests int }

func count(t *testing.T, db *sqldb.DB) (c counts) {
	t.Helper()
	err := db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM employees), (SELECT count(*) FROM outbox), (SELECT count(*) FROM requests)`).
		Scan(&c.Employees, &c.Outbox, &c.Requests)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func bodies(t *testing.T, db *sqldb.DB) (all []string) {
	t.Helper()
	var raw [][]byte
	if err := db.SelectContext(t.Context(), &raw, `SELECT body FROM outbox ORDER BY position`); err != nil {
		t.Fatal(err)
	}
	for _, b := range raw {
		all = append(all, string(b))
	}
	return all
}

func TestCreate(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		db := openDB(t)
		s := open(t, db)
		before := employee.Moment(time.Now())
		got := create(t, s, person(1))
		if !id.Valid("emp", got.ID) {
			t.Errorf("id %q", got.ID)
		}
		if got.CreatedAt.Before(before) || got.CreatedAt.After(time.Now()) || got.CreatedAt != got.UpdatedAt {
			t.Errorf("created at %v, updated at %v", got.CreatedAt, got.UpdatedAt)
		}
		want := person(1)
		want.ID, want.Status, want.Version, want.CreatedAt, want.UpdatedAt = got.ID, employee.Active, 1, got.CreatedAt, got.CreatedAt
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		read, err := s.Get(t.Context(), got.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, read); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"employee.created " + got.ID + " 1 " + hr.Traceparent}, bodies(t, db)); diff != "" {
			t.Error(diff)
		}
		if _, err := s.Get(t.Context(), id.New("emp")); !errors.Is(err, employee.ErrNotFound) {
			t.Errorf("unknown id: %v", err)
		}
	})
}

func TestCreateRefusesWhatIsTaken(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		db := openDB(t)
		s := open(t, db)
		create(t, s, person(1))
		number, email, decomposed := person(2), person(2), person(2)
		number.Number = "E-1"
		email.Email = "ZOË.1@EXAMPLE.com"
		decomposed.Email = "Zoe\u0308.1@example.com"
		for _, tt := range []struct {
			name string
			e    employee.Employee
			want error
		}{
			{"number", number, employee.ErrNumberTaken},
			{"email in another case", email, employee.ErrEmailTaken},
			{"email in another normal form", decomposed, employee.ErrEmailTaken},
		} {
			t.Run(tt.name, func(t *testing.T) {
				before := count(t, db)
				_, err := s.Create(t.Context(), hr, employee.Create{Employee: tt.e, RequestID: "r-" + tt.name})
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if after := count(t, db); after != before {
					t.Errorf("rows went from %v to %v", before, after)
				}
			})
		}
	})
}

func TestCreateTwiceWithOneRequestID(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		db := openDB(t)
		s := open(t, db)
		ask := func(caller string, requestID string, e employee.Employee) (employee.Result, error) {
			return s.Create(t.Context(), employee.Caller{Name: caller}, employee.Create{Employee: e, RequestID: requestID})
		}
		first, err := ask("hr", "k", person(1))
		if err != nil || first.Existing {
			t.Fatalf("first: %v, %v", first.Existing, err)
		}
		// The answer stays what it was, even when the employee has changed since.
		if _, err := s.Update(t.Context(), hr, first.Employee.ID, func(e employee.Employee) (employee.Employee, error) {
			e.GivenName = "Changed"
			return e.Terminate(), nil
		}); err != nil {
			t.Fatal(err)
		}
		before := count(t, db)
		again, err := ask("hr", "k", person(1))
		if err != nil || !again.Existing {
			t.Fatalf("again: %v, %v", again.Existing, err)
		}
		if diff := cmp.Diff(first.Employee, again.Employee); diff != "" {
			t.Error(diff)
		}
		other := person(1)
		other.Department = "Other"
		if _, err := ask("hr", "k", other); !errors.Is(err, employee.ErrRequestReused) {
			t.Errorf("other content: %v", err)
		}
		if _, err := ask("hr", "k", person(2)); !errors.Is(err, employee.ErrRequestReused) {
			t.Errorf("another employee: %v", err)
		}
		if after := count(t, db); after != before {
			t.Errorf("rows went from %v to %v", before, after)
		}
		if r, err := ask("payroll", "k", person(2)); err != nil || r.Existing {
			t.Errorf("the same id of another caller: %v, %v", r.Existing, err)
		}
	})
}

func TestConcurrentCreatesWithOneRequestID(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		db := openDB(t)
		stores := []*sqlstore.Store{open(t, db), start(t, db, outbox.NewHandoff(10))} // two replicas
		results := make([]employee.Employee, 100)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				r, err := stores[i%2].Create(t.Context(), hr, employee.Create{Employee: person(1), RequestID: "k"})
				if err != nil {
					t.Error(err)
				}
				results[i] = r.Employee
			})
		}
		wg.Wait()
		for _, r := range results {
			if r != results[0] {
				t.Fatalf("answers differ: %v, %v", r, results[0])
			}
		}
		if got := count(t, db); got != (counts{1, 1, 1}) {
			t.Errorf("rows: %+v", got)
		}
	})
}

func TestNobodysMistakeIsAnothers(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		db := openDB(t)
		s := open(t, db)
		create(t, s, person(0))
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				n := i
				if i%2 == 1 {
					n = 0
				}
				e := person(n)
				if n == 0 && i%4 == 1 {
					e.Number = fmt.Sprintf("other-%d", i)
				}
				_, err := s.Create(t.Context(), hr, employee.Create{Employee: e})
				switch {
				case n != 0 && err != nil:
					t.Errorf("a good create: %v", err)
				case n == 0 && !errors.Is(err, employee.ErrNumberTaken) && !errors.Is(err, employee.ErrEmailTaken):
					t.Errorf("a bad create: %v", err)
				}
			})
		}
		wg.Wait()
		if got := count(t, db); got != (counts{100, 100, 0}) {
			t.Errorf("rows: %+v", got)
		}
	})
}

func TestCreateAll(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		db := openDB(t)
		s := open(t, db)
		create(t, s, person(0))
		creates := func(from, to int) (all []employee.Create) {
			for n := from; n < to; n++ {
				all = append(all, employee.Create{Employee: person(n), RequestID: fmt.Sprintf("r-%d", n)})
			}
			return all
		}
		before := count(t, db)
		for _, tt := range []struct {
			name    string
			creates []employee.Create
			index   int
			want    error
		}{
			{"one is taken", append(creates(1, 300), employee.Create{Employee: person(0)}), 299, employee.ErrNumberTaken},
			{"one twice", append(creates(1, 10), employee.Create{Employee: person(5)}), 9, employee.ErrNumberTaken},
			{"one request id twice", append(creates(1, 10), employee.Create{Employee: person(11), RequestID: "r-3"}), 9, employee.ErrRequestReused},
		} {
			_, err := s.CreateAll(t.Context(), hr, tt.creates)
			item, ok := errors.AsType[*employee.ItemError](err)
			if !ok || item.Index != tt.index || !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v at %d", tt.name, err, tt.want, tt.index)
			}
			if after := count(t, db); after != before {
				t.Fatalf("%s: rows went from %v to %v", tt.name, before, after)
			}
		}
		first, err := s.CreateAll(t.Context(), hr, creates(1, 501))
		if err != nil {
			t.Fatal(err)
		}
		if got := count(t, db); got != (counts{501, 501, 500}) {
			t.Errorf("rows: %+v", got)
		}
		again, err := s.CreateAll(t.Context(), hr, creates(1, 501))
		if err != nil {
			t.Fatal(err)
		}
		for i := range first {
			if first[i].Employee != again[i].Employee || first[i].Existing || !again[i].Existing {
				t.Fatalf("item %d: %v, %v", i, first[i], again[i])
			}
		}
		if got := count(t, db); got != (counts{501, 501, 500}) {
			t.Errorf("rows: %+v", got)
		}
	})
}

func TestCreateEach(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		db := openDB(t)
		s := open(t, db)
		create(t, s, person(2))
		creates := []employee.Create{{Employee: person(1)}, {Employee: person(2)}, {Employee: person(3)}, {Employee: person(1)}}
		results, errs, err := s.CreateEach(t.Context(), hr, creates)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []error{nil, employee.ErrNumberTaken, nil, employee.ErrNumberTaken} {
			if !errors.Is(errs[i], want) || want == nil && results[i].Employee.Version != 1 {
				t.Errorf("item %d: %v, want %v", i, errs[i], want)
			}
		}
		if got := count(t, db); got != (counts{3, 3, 0}) {
			t.Errorf("rows: %+v", got)
		}
	})
}

func TestUpdate(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		db := openDB(t)
		s := open(t, db)
		first, second := create(t, s, person(1)), create(t, s, person(2))
		rename := func(e employee.Employee) (employee.Employee, error) {
			e.GivenName, e.Email = "Ada", "ada@example.com"
			return e, nil
		}
		got, err := s.Update(t.Context(), hr, first.ID, rename)
		if err != nil {
			t.Fatal(err)
		}
		want := first
		want.GivenName, want.Email, want.Version, want.UpdatedAt = "Ada", "ada@example.com", 2, got.UpdatedAt
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if !got.UpdatedAt.After(first.UpdatedAt) {
			t.Errorf("updated at %v, after %v", got.UpdatedAt, first.UpdatedAt)
		}
		if read, err := s.Get(t.Context(), first.ID); err != nil || read != got {
			t.Errorf("read %v, %v", cmp.Diff(got, read), err)
		}
		before := count(t, db)
		if same, err := s.Update(t.Context(), hr, first.ID, rename); err != nil || same != got {
			t.Errorf("a change that changes nothing: %v, %v", cmp.Diff(got, same), err)
		}
		refused := errors.New("refused")
		for _, tt := range []struct {
			name   string
			id     string
			change func(employee.Employee) (employee.Employee, error)
			want   error
		}{
			{"unknown", id.New("emp"), rename, employee.ErrNotFound},
			{"taken email", second.ID, rename, employee.ErrEmailTaken},
			{"taken number", second.ID, func(e employee.Employee) (employee.Employee, error) { e.Number = "E-1"; return e, nil }, employee.ErrNumberTaken},
			{"refused", first.ID, func(e employee.Employee) (employee.Employee, error) { return e, refused }, refused},
		} {
			if _, err := s.Update(t.Context(), hr, tt.id, tt.change); !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
			}
		}
		if after := count(t, db); after != before {
			t.Errorf("rows went from %v to %v", before, after)
		}
		ended, err := s.Update(t.Context(), hr, first.ID, func(e employee.Employee) (employee.Employee, error) { return e.Terminate(), nil })
		if err != nil || ended.Status != employee.Terminated || ended.Version != 3 {
			t.Errorf("terminate: %v, %v", ended, err)
		}
		var events []string
		for _, b := range bodies(t, db) {
			if strings.Contains(b, first.ID) {
				events = append(events, strings.Join(strings.Fields(b)[:3], " "))
			}
		}
		if diff := cmp.Diff([]string{"employee.created " + first.ID + " 1", "employee.updated " + first.ID + " 2", "employee.terminated " + first.ID + " 3"}, events); diff != "" {
			t.Error(diff)
		}
		// Its old email and number are free.
		e := person(1)
		e.Number = "E-3"
		if _, err := s.Create(t.Context(), hr, employee.Create{Employee: e}); err != nil {
			t.Errorf("the old email: %v", err)
		}
	})
}

func TestConcurrentUpdates(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		db := openDB(t)
		stores := []*sqlstore.Store{open(t, db), start(t, db, outbox.NewHandoff(10))}
		e := create(t, stores[0], person(1))
		const updates = 60
		var wg sync.WaitGroup
		for i := range updates {
			wg.Go(func() {
				_, err := stores[i%2].Update(t.Context(), hr, e.ID, func(e employee.Employee) (employee.Employee, error) {
					e.Department += "x"
					return e, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got, err := stores[0].Get(t.Context(), e.ID)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Department) != updates || got.Version != updates+1 {
			t.Errorf("%d changes made version %d", len(got.Department), got.Version)
		}
		for i, b := range bodies(t, db) {
			if !strings.Contains(b, fmt.Sprintf(" %d ", i+1)) {
				t.Fatalf("event %d is %s", i, b)
			}
		}
	})
}

func TestPrune(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		db := openDB(t)
		s := open(t, db)
		for batch := range 3 {
			var creates []employee.Create
			for i := range 400 {
				n := 400*batch + i
				creates = append(creates, employee.Create{Employee: person(n), RequestID: fmt.Sprintf("r-%d", n)})
			}
			if _, err := s.CreateAll(t.Context(), hr, creates); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := s.Prune(t.Context(), time.Now().Add(-time.Minute)); n != 0 || err != nil {
			t.Errorf("pruned %d, %v", n, err)
		}
		if n, err := s.Prune(t.Context(), time.Now()); n != 1200 || err != nil {
			t.Errorf("pruned %d, %v", n, err)
		}
		if got := count(t, db); got.Employees != 1200 || got.Requests != 0 {
			t.Errorf("rows: %+v", got)
		}
	})
}

// A full disk refuses what it cannot hold, keeps what it holds, and works again when there is room.
func TestDiskFull(t *testing.T) {
	db := sqldbtest.OpenSQLite(t)
	s := open(t, db)
	create(t, s, person(0))
	limit := func(pages string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), `PRAGMA max_page_count = `+pages); err != nil {
			t.Fatal(err)
		}
	}
	limit("1") // SQLite takes the present size then
	stored := 1
	var err error
	for n := 1; err == nil && n < 1000; n++ {
		if _, err = s.Create(t.Context(), hr, employee.Create{Employee: person(n), RequestID: fmt.Sprint(n)}); err == nil {
			stored++
		}
	}
	if !sqldb.IsFull(err) {
		t.Fatalf("got %v, want a full disk", err)
	}
	if got := count(t, db); got.Employees != stored || got.Outbox != stored || got.Requests != stored-1 {
		t.Errorf("%d acknowledged, rows %+v", stored, got)
	}
	limit("1000000")
	create(t, s, person(2000))
	var check string
	if err := db.QueryRowContext(t.Context(), `PRAGMA integrity_check`).Scan(&check); err != nil || check != "ok" {
		t.Errorf("integrity: %s, %v", check, err)
	}
}
