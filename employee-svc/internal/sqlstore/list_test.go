package sqlstore_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/employee-svc/internal/sqlstore"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

// walk reads all pages of q.
func walk(t *testing.T, s *sqlstore.Store, q employee.Query) (numbers []string) {
	t.Helper()
	for {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Employees) > q.Limit {
			t.Fatalf("a page of %d, asked for %d", len(page.Employees), q.Limit)
		}
		for _, e := range page.Employees {
			numbers = append(numbers, e.Number)
		}
		if page.Next == 0 {
			return numbers
		}
		q.After = page.Next
	}
}

func TestList(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		s := open(t, openDB(t))
		if got := walk(t, s, employee.Query{Limit: 10}); got != nil {
			t.Errorf("of nothing: %v", got)
		}
		var want []string
		var all []employee.Employee
		for n := range 25 {
			all = append(all, create(t, s, person(n)))
			want = append(want, person(n).Number)
		}
		for _, limit := range []int{1, 5, 24, 25, 26, 1000} {
			if diff := cmp.Diff(want, walk(t, s, employee.Query{Limit: limit})); diff != "" {
				t.Errorf("pages of %d: %s", limit, diff)
			}
		}
		// What changes moves to the end of the walk.
		for _, n := range []int{3, 0} {
			if _, err := s.Update(t.Context(), hr, all[n].ID, func(e employee.Employee) (employee.Employee, error) {
				return e.Terminate(), nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		want = append(slices.Concat(want[1:3], want[4:]), "E-3", "E-0")
		if diff := cmp.Diff(want, walk(t, s, employee.Query{Limit: 7})); diff != "" {
			t.Error(diff)
		}
		after := all[19].UpdatedAt
		for _, tt := range []struct {
			name string
			q    employee.Query
			want []string
		}{
			{"active", employee.Query{Status: employee.Active}, want[:23]},
			{"terminated", employee.Query{Status: employee.Terminated}, want[23:]},
			{"updated after", employee.Query{UpdatedAfter: after}, want[18:]},
			{"active and updated after", employee.Query{UpdatedAfter: after, Status: employee.Active}, want[18:23]},
			{"terminated and updated after", employee.Query{UpdatedAfter: after, Status: employee.Terminated}, want[23:]},
			{"updated after now", employee.Query{UpdatedAfter: time.Now().Add(time.Hour)}, nil},
			{"updated after long ago", employee.Query{UpdatedAfter: time.Unix(0, 0)}, want},
		} {
			for _, limit := range []int{1, 3, 100} {
				tt.q.Limit = limit
				if diff := cmp.Diff(tt.want, walk(t, s, tt.q)); diff != "" {
					t.Errorf("%s, pages of %d: %s", tt.name, limit, diff)
				}
			}
		}
	})
}

// A transaction that began earlier and commits later must not be skipped by a reader who passed its place in time.
func TestListSkipsNoLateCommit(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		db := openDB(t)
		s := open(t, db)
		create(t, s, person(1))

		// The held transaction has its position and its row, and does not commit yet.
		held, committed := make(chan struct{}), make(chan struct{})
		release := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			err := db.InTx(t.Context(), func(tx *sqldb.Tx) error {
				var position int64
				if err := tx.QueryRowContext(t.Context(), `UPDATE feed SET position = position + 1 RETURNING position`).Scan(&position); err != nil {
					return err
				}
				_, err := tx.ExecContext(t.Context(), `INSERT INTO employees (id, position, employee_number, given_name, family_name, email, email_key,
					job_title, department, hire_date, country, currency, status, version, created_at, updated_at)
					SELECT 'emp_late', $1, 'late', given_name, family_name, 'late', 'late', job_title, department, hire_date, country, currency,
					status, version, created_at, updated_at FROM employees`, position)
				close(held)
				<-release
				return err
			})
			if err != nil {
				t.Error(err)
			}
			close(committed)
		})
		<-held
		// Others create meanwhile: they must wait for the held one, or readers would pass it.
		wg.Go(func() { create(t, s, person(2)) })
		seen := func() (numbers []string, next int64) {
			page, err := s.List(t.Context(), employee.Query{Limit: 1})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Employees {
				numbers = append(numbers, e.Number)
			}
			return numbers, page.Next
		}
		for range 20 {
			if got, next := seen(); !slices.Equal(got, []string{"E-1"}) || next != 0 {
				t.Fatalf("read %v and on from %d while the earlier transaction is open", got, next)
			}
			time.Sleep(2 * time.Millisecond)
		}
		close(release)
		<-committed
		wg.Wait()
		if diff := cmp.Diff([]string{"E-1", "late", "E-2"}, walk(t, s, employee.Query{Limit: 1})); diff != "" {
			t.Error(diff)
		}
	})
}

// A walk, while many write, sees everyone who was there when it began, and nobody twice who does not change.
func TestListWhileWriting(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, openDB func(*testing.T) *sqldb.DB) {
		s := open(t, openDB(t))
		var mu sync.Mutex
		var acknowledged []string
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 40 {
					e := create(t, s, person(1000*w+i))
					mu.Lock()
					acknowledged = append(acknowledged, e.Number)
					mu.Unlock()
				}
			})
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		for finished := false; !finished; {
			select {
			case <-done:
				finished = true
			default:
			}
			mu.Lock()
			want := slices.Clone(acknowledged)
			mu.Unlock()
			seen := map[string]bool{}
			for _, number := range walk(t, s, employee.Query{Limit: 7}) {
				if seen[number] {
					t.Fatalf("%s was seen twice", number)
				}
				seen[number] = true
			}
			for _, number := range want {
				if !seen[number] {
					t.Fatalf("%s was acknowledged before the walk and not seen", number)
				}
			}
		}
	})
}
