package sqlstore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
)

func (s opened) count(t *testing.T, table string) (n int) {
	t.Helper()
	if err := s.db.Get(&n, `SELECT count(*) FROM `+table); err != nil {
		t.Fatal(err)
	}
	return n
}

// age makes everything that is stored older: the rows, and the ids that say when they were made.
func (s opened) age(t *testing.T, by time.Duration) {
	t.Helper()
	at := s.Now().Add(-by)
	n := 0
	fresh := func(prefix string) string {
		n++
		return id.Bound(prefix, at.Add(time.Duration(n)*time.Millisecond))
	}
	var events []string
	if err := s.db.Select(&events, `SELECT id FROM events ORDER BY position`); err != nil {
		t.Fatal(err)
	}
	for _, old := range events {
		to := fresh("evt")
		s.mustExec(t, `UPDATE events SET id = $2, received_at = $3 WHERE id = $1`, old, to, at)
		for _, table := range []string{"deliveries", "finished_deliveries"} {
			s.mustExec(t, `UPDATE `+table+` SET event_id = $2, created_at = $3 WHERE event_id = $1`, old, to, at)
		}
	}
	var list []string
	if err := s.db.Select(&list, `SELECT id FROM deliveries UNION ALL SELECT id FROM finished_deliveries ORDER BY 1`); err != nil {
		t.Fatal(err)
	}
	for _, old := range list {
		to := fresh("dlv")
		s.mustExec(t, `UPDATE attempts SET delivery_id = $2 WHERE delivery_id = $1`, old, to)
		for _, table := range []string{"deliveries", "finished_deliveries"} {
			s.mustExec(t, `UPDATE `+table+` SET id = $2 WHERE id = $1`, old, to)
		}
	}
}

func (s opened) mustExec(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := s.db.Exec(query, args...); err != nil {
		t.Fatal(err)
	}
}

const month = 30 * 24 * time.Hour

// What is old goes, whole partitions at a time where there are any; what is pending stays, with its event and its attempts.
func TestOldHistoryGoes(t *testing.T) {
	for _, days := range []bool{false, true} {
		t.Run(fmt.Sprintf("partitions=%v", days), func(t *testing.T) {
			eachEngine(t, func(t *testing.T, s opened) {
				if days && s.db.Engine == sqldb.SQLite {
					t.Skip("there are no partitions")
				}
				at := s.Now().Add(-month - 48*time.Hour)
				if days {
					for _, p := range []struct{ table, prefix string }{{"events", "evt"}, {"finished_deliveries", "dlv"}, {"attempts", "dlv"}} {
						for _, d := range []time.Time{at.Truncate(24 * time.Hour), at.Truncate(24*time.Hour).AddDate(0, 0, -1)} {
							s.mustExec(t, fmt.Sprintf(`CREATE TABLE %s_p%s PARTITION OF %[1]s FOR VALUES FROM ('%[3]s') TO ('%[4]s')`,
								p.table, d.Format("20060102"), id.Bound(p.prefix, d), id.Bound(p.prefix, d.AddDate(0, 0, 1))))
						}
					}
				}
				a, held := s.subscribe(t, "bank-a"), s.subscribe(t, "bank-b")
				ended, waits := employeeEvent("emp_1", 1), employeeEvent("emp_2", 1)
				s.publish(t, []string{a}, ended)
				s.publish(t, []string{a, held}, waits)
				s.finish(t, a, delivered)
				s.finish(t, held, failed)
				s.age(t, month+48*time.Hour)
				young := employeeEvent("emp_3", 1)
				s.publish(t, []string{a}, young)
				s.finish(t, a, delivered)
				if days && s.count(t, "events_p"+at.Format("20060102")) != 2 {
					t.Fatal("the old events are in another partition")
				}

				removed, err := s.RemoveOld(t.Context(), s.Now().Add(-month))
				if err != nil {
					t.Fatal(err)
				}
				if days && removed.Partitions == 0 || !days && removed.Rows == 0 {
					t.Errorf("%+v", removed)
				}
				if n := s.count(t, "events"); n != 2 {
					t.Errorf("%d events are left", n)
				}
				list, err := s.Deliveries(t.Context(), history.DeliveryQuery{Limit: 10})
				if err != nil || len(list) != 2 {
					t.Fatalf("%+v, %v", list, err)
				}
				for _, d := range list {
					if d.Status == delivery.Pending {
						if _, attempts, err := s.Delivery(t.Context(), d.ID, nil); err != nil || len(attempts) != 1 {
							t.Errorf("the pending one's attempts: %v, %v", attempts, err)
						}
						if e, err := s.Event(t.Context(), d.EventID); err != nil || e.Payload == nil {
							t.Errorf("the pending one's event: %v", err)
						}
					}
				}
				if again, err := s.RemoveOld(t.Context(), s.Now().Add(-month)); err != nil || again.Rows != 0 || again.Partitions != 0 {
					t.Errorf("again: %+v, %v", again, err)
				}
				s.mustExec(t, `UPDATE deliveries SET due_at = created_at`)
				s.finish(t, held, delivered)
				if _, err := s.RemoveOld(t.Context(), s.Now().Add(-month)); err != nil {
					t.Error(err)
				}
				if n := s.count(t, "events") + s.count(t, "attempts"); n != 1 {
					t.Errorf("%d rows are left", n)
				}
				s.balance(t, held, history.Balance{FannedOut: 1, Delivered: 1}) // counts outlive what they counted
			})
		})
	}
}

func TestManyOldRowsGoInBatches(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		sub := s.subscribe(t, "bank-a")
		var events []*event.Event
		for i := range 700 {
			events = append(events, employeeEvent(fmt.Sprintf("emp_%d", i), 1))
		}
		s.publish(t, []string{sub}, events...)
		s.finish(t, sub, delivered)
		s.age(t, month+48*time.Hour)
		removed, err := s.RemoveOld(t.Context(), s.Now().Add(-month))
		if err != nil || removed.Rows != 1400 {
			t.Errorf("%+v, %v", removed, err)
		}
	})
}

func TestPayloadsGoEarlier(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		sub := s.subscribe(t, "bank-a")
		s.publish(t, nil, employeeEvent("emp_1", 1))
		s.publish(t, []string{sub}, employeeEvent("emp_2", 1)) // pending
		s.publish(t, nil, employeeEvent("emp_3", 1))
		s.mustExec(t, `UPDATE events SET received_at = $1`, s.Now().Add(-48*time.Hour))
		young := employeeEvent("emp_4", 1)
		s.publish(t, nil, young)
		left := func() (employees string) {
			var list []string
			if err := s.db.Select(&list, `SELECT employee_id FROM events WHERE payload IS NOT NULL ORDER BY position`); err != nil {
				t.Fatal(err)
			}
			return strings.Join(list, " ")
		}
		day := s.Now().Add(-24 * time.Hour)
		if n, err := s.ClearPayloads(t.Context(), day); err != nil || n != 2 || left() != "emp_2 emp_4" {
			t.Errorf("%d cleared, %v; left are %s", n, err, left())
		}
		if n, err := s.ClearPayloads(t.Context(), day); err != nil || n != 0 {
			t.Errorf("again: %d cleared, %v", n, err)
		}
		s.finish(t, sub, delivered)
		if n, err := s.ClearPayloads(t.Context(), day); err != nil || n != 1 || left() != "emp_4" {
			t.Errorf("once it is delivered: %d cleared, %v; left are %s", n, err, left())
		}
		if n := s.count(t, "events"); n != 4 {
			t.Errorf("%d events", n)
		}
	})
}

func TestPartitions(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		for range 2 {
			if err := s.MakePartitions(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if s.db.Engine == sqldb.SQLite {
			return
		}
		errs := make(chan error)
		s.mustExec(t, `DROP TABLE events_p`+s.Now().AddDate(0, 0, 2).Format("20060102"))
		for range 4 {
			go func() { errs <- s.MakePartitions(t.Context()) }()
		}
		for range 4 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		sub := s.subscribe(t, "bank-a")
		s.publish(t, []string{sub}, employeeEvent("emp_1", 1))
		s.finish(t, sub, delivered)
		for _, table := range []string{"events", "finished_deliveries"} {
			if n := s.count(t, table+"_p"+s.Now().Format("20060102")); n != 1 {
				t.Errorf("%d rows of today in the partition of %s", n, table)
			}
			if n := s.count(t, table+"_default"); n != 0 {
				t.Errorf("%d rows in the default partition of %s", n, table)
			}
		}
		// A publisher's own ids go to the default partition, and a day that began there stays there.
		own := employeeEvent("emp_1", 2)
		own.ID = "my-event-1"
		s.publish(t, nil, own)
		if n := s.count(t, "events_default"); n != 1 {
			t.Errorf("%d rows in the default partition", n)
		}
	})
}
