package sqlstore_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/employee-svc/internal/outbox"
	"hirewire.dev/employee-svc/internal/sqlstore"
	"hirewire.dev/platform/sqldb"
)

// fill stores n employees with an update each: 2n free events.
func fill(t *testing.T, db *sqldb.DB, n int) {
	t.Helper()
	s := start(t, db, outbox.NewHandoff(10))
	for i := range n {
		e := create(t, s, person(i))
		if _, err := s.Update(t.Context(), hr, e.ID, change); err != nil {
			t.Fatal(err)
		}
	}
}

func at(messages []outbox.Message) (positions []int64) {
	for _, m := range messages {
		positions = append(positions, m.Position)
	}
	return positions
}

func TestOutboxClaim(t *testing.T) {
	relaySuite(t, func(t *testing.T, db *sqldb.DB) {
		fill(t, db, 3) // events 1 and 2, 3 and 4, 5 and 6 belong together
		o := sqlstore.NewOutbox(db)
		claim := func(lease int64, limit int, want ...int64) {
			t.Helper()
			got, err := o.Claim(t.Context(), lease, time.Now().Add(10*time.Minute), limit)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, at(got)); diff != "" {
				t.Error(diff)
			}
		}
		claim(1, 3, 1, 2, 3)
		claim(2, 10, 5, 6) // 4 waits for 3
		claim(2, 10)
		if kept, err := o.Renew(t.Context(), 2, time.Now().Add(10*time.Minute), []int64{3, 5, 6}); err != nil || !cmp.Equal(kept, []int64{5, 6}) {
			t.Errorf("kept %v, %v", kept, err)
		}
		if err := o.Release(t.Context(), 2, []int64{1, 2, 3}); err != nil { // not its own
			t.Fatal(err)
		}
		claim(3, 10)
		if err := o.Release(t.Context(), 1, []int64{2, 3}); err != nil {
			t.Fatal(err)
		}
		claim(3, 10, 3, 4) // 2 waits for 1
		if err := o.Remove(t.Context(), []int64{1}); err != nil {
			t.Fatal(err)
		}
		claim(3, 10, 2)
		if err := o.Defer(t.Context(), 3, 3, 1, time.Now().Add(10*time.Minute)); err != nil {
			t.Fatal(err)
		}
		if err := o.Release(t.Context(), 3, []int64{4}); err != nil {
			t.Fatal(err)
		}
		claim(4, 10) // 4 waits for 3, which is not due
		if err := o.Park(t.Context(), 2, 5, "why"); err != nil {
			t.Fatal(err)
		}
		if err := o.Release(t.Context(), 2, []int64{6}); err != nil {
			t.Fatal(err)
		}
		claim(4, 10, 6) // parked ones hold nothing up
		depth, err := o.Depth(t.Context())
		if err != nil || depth.Waiting != 4 || depth.Parked != 1 || time.Since(depth.Oldest) > time.Minute {
			t.Errorf("depth %+v, %v", depth, err)
		}
	})
}

// What was put off is not put off for ever: parked events are tried again, and a time that only a wrong clock can have set
// has passed.
func TestOutboxClaimsWhatWasPutOffForLong(t *testing.T) {
	relaySuite(t, func(t *testing.T, db *sqldb.DB) {
		fill(t, db, 2)
		o := sqlstore.NewOutbox(db)
		claim := func(lease int64, until time.Time) []int64 {
			t.Helper()
			got, err := o.Claim(t.Context(), lease, until, 10)
			if err != nil {
				t.Fatal(err)
			}
			return at(got)
		}
		claim(1, time.Now())
		if err := o.Park(t.Context(), 1, 1, "why"); err != nil {
			t.Fatal(err)
		}
		if err := o.Release(t.Context(), 1, []int64{1, 2, 3, 4}); err != nil {
			t.Fatal(err)
		}
		// A relay whose clock is an hour ahead takes the others, and dies.
		if diff := cmp.Diff([]int64{2, 3, 4}, claim(2, time.Now().Add(time.Hour))); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]int64{2, 3, 4}, claim(3, time.Now())); diff != "" {
			t.Error(diff)
		}
		if _, err := db.ExecContext(t.Context(), `UPDATE outbox SET parked_at = $1 WHERE parked_at IS NOT NULL`, time.Now().Add(-outbox.ParkedFor).UTC()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int64{1, 2, 3, 4}, claim(4, time.Now().Add(time.Minute))); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOutboxClaimRace(t *testing.T) {
	relaySuite(t, func(t *testing.T, db *sqldb.DB) {
		fill(t, db, 100)
		o := sqlstore.NewOutbox(db)
		var mu sync.Mutex
		owner := map[int64]int64{}
		employees := map[string]int64{}
		var wg sync.WaitGroup
		for lease := int64(1); lease <= 4; lease++ {
			wg.Go(func() {
				for range 40 {
					got, err := o.Claim(t.Context(), lease, time.Now().Add(10*time.Minute), 7)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for _, m := range got {
						if other, ok := owner[m.Position]; ok {
							t.Errorf("event %d claimed by %d and %d", m.Position, other, lease)
						}
						owner[m.Position] = lease
						if other, ok := employees[m.EmployeeID]; ok && other != lease {
							t.Errorf("two relays have events of %s", m.EmployeeID)
						}
						employees[m.EmployeeID] = lease
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(owner) < 150 {
			t.Errorf("only %d of 200 events claimed", len(owner))
		}
	})
}
