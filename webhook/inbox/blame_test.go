package inbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"hirewire.dev/webhook/inbox"
)

// What ails the database is not the event's fault: it is tried again until it
// works, though a single failure of its own would quarantine it.
func TestFailuresOfTheDatabaseAreNotCounted(t *testing.T) {
	type fault struct{ begin, end string }
	raise := func(code string) fault {
		return fault{`
			CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '` + code + `'; END $$;
			CREATE TRIGGER fail BEFORE INSERT ON effects FOR EACH ROW EXECUTE FUNCTION fail()`, `DROP TRIGGER fail ON effects`}
	}
	tests := map[inbox.Dialect]map[string]fault{
		inbox.PostgreSQL: {
			"disk full":         raise("53100"),
			"out of memory":     raise("53200"),
			"I/O error":         raise("58030"),
			"read only":         raise("25006"),
			"statement_timeout": raise("57014"),
		},
		inbox.SQLite: {
			"disk full": {`PRAGMA max_page_count = 1`, `PRAGMA max_page_count = 1000000`}, // no page more than there are
		},
	}
	onEach(t, func(t *testing.T, db *database) {
		for name, fault := range tests[db.dialect] {
			t.Run(name, func(t *testing.T) {
				c := config(db)
				c.MaxAttempts = 1
				c.Handle = func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
					if db.dialect == inbox.SQLite { // more than is left of any page
						if _, err := tx.ExecContext(ctx, "INSERT INTO effects SELECT NULL, hex(zeroblob(100000)), '', 0"); err != nil {
							return fmt.Errorf("insert: %w", err)
						}
						tx.ExecContext(ctx, "DELETE FROM effects WHERE key = ''")
					}
					return effect(ctx, tx, e)
				}
				p := start(t, c)
				id := "evt_" + fmt.Sprint(time.Now().UnixNano())
				if _, err := db.Exec(fault.begin); err != nil {
					t.Fatal(err)
				}
				p.accept(t, delivery(id, "emp_1", 1))
				eventually(t, "two tries", func() bool {
					r, err := p.Get(t.Context(), id)
					return err == nil && (r.Attempts >= 2 || r.Status == inbox.StatusQuarantined)
				})
				if r, err := p.Get(t.Context(), id); err != nil || r.Status != inbox.StatusFailed {
					t.Errorf("%v, %s: %s", err, r.Status, r.LastError)
				}
				if _, err := db.Exec(fault.end); err != nil {
					t.Fatal(err)
				}
				idle(t, db)
				if got := query[int](t, db, "SELECT count(*) FROM effects WHERE id = $1", id); got != 1 {
					t.Errorf("%d effects", got)
				}
			})
		}
	})
}

// A handler that hangs may be waiting for a lock, so it has many more tries;
// but not without end, since its key waits.
func TestHangingHandler(t *testing.T) {
	tests := map[string]struct {
		hangs    int // tries
		attempts int
		want     string
	}{
		"for a while": {hangs: 12, attempts: 13, want: "2 PROCESSED"},
		"always":      {hangs: 1000, attempts: 20, want: "1 QUARANTINED, 1 PROCESSED"},
	}
	onEach(t, func(t *testing.T, db *database) {
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				db.Exec("DELETE FROM inbox_events")
				c := config(db)
				c.Lease, c.MaxAttempts = 300*time.Millisecond, 2
				c.Handle = func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
					if e.ID == "evt_1" && e.Attempt <= tt.hangs {
						<-ctx.Done()
						return ctx.Err()
					}
					return nil
				}
				p := start(t, c)
				p.accept(t, delivery("evt_1", "emp_1", 1), delivery("evt_2", "emp_1", 2))
				idle(t, db)
				if got := statuses(t, db); got != tt.want {
					t.Error(got)
				}
				if r, err := p.Get(t.Context(), "evt_1"); err != nil || r.Attempts < tt.attempts {
					t.Errorf("%v, %d attempts", err, r.Attempts)
				}
				p.stop()
			})
		}
	})
}
