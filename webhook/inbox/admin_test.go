package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/webhook"
	"hirewire.dev/webhook/inbox"
)

// sorter is a handler that gives each event the status its version asks for.
func sorter(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
	switch e.Subject.Version % 4 {
	case 1:
		return inbox.ErrIgnore
	case 2:
		return inbox.ErrPoison
	case 3:
		return inbox.ErrTransient
	}
	return effect(ctx, tx, e)
}

// filledAt is when the first message of filled arrived.
var filledAt = time.Now().UTC().Truncate(time.Second).Add(-time.Hour)

// filled is an inbox with 40 messages, ten of each status, that is stopped.
func filled(t *testing.T, db *database) *process {
	t.Helper()
	c := config(db)
	c.Handle = sorter
	p := start(t, c)
	for i := range int64(40) {
		d := delivery(fmt.Sprintf("evt_%02d", i), fmt.Sprintf("emp_%d", i), i)
		d.ReceivedAt = filledAt.Add(time.Duration(i) * time.Minute)
		p.accept(t, d)
	}
	eventually(t, "all tried", func() bool {
		return query[int](t, db, "SELECT count(*) FROM inbox_events WHERE attempts > 0") == 40
	})
	return p
}

func ids(records []inbox.Record) []string {
	var out []string
	for _, r := range records {
		out = append(out, r.ID)
	}
	return out
}

func TestList(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		p := filled(t, db)
		at := func(minute int) time.Time { return filledAt.Add(time.Duration(minute) * time.Minute) }
		var all, quarantined []string
		for i := 39; i >= 0; i-- {
			all = append(all, fmt.Sprintf("evt_%02d", i))
			if i%4 == 2 {
				quarantined = append(quarantined, fmt.Sprintf("evt_%02d", i))
			}
		}
		tests := map[string]struct {
			filter inbox.Filter
			want   []string
		}{
			"all":            {inbox.Filter{}, all},
			"quarantined":    {inbox.Filter{Statuses: []inbox.Status{inbox.StatusQuarantined}}, quarantined},
			"open":           {inbox.Filter{Statuses: []inbox.Status{inbox.StatusPending, inbox.StatusFailed}, ReceivedBefore: at(8)}, []string{"evt_07", "evt_03"}},
			"two statuses":   {inbox.Filter{Statuses: []inbox.Status{inbox.StatusIgnored, inbox.StatusProcessed}, ReceivedBefore: at(6)}, []string{"evt_05", "evt_04", "evt_01", "evt_00"}},
			"no such status": {inbox.Filter{Statuses: []inbox.Status{"x' OR '1'='1"}}, nil},
			"by key":         {inbox.Filter{Key: "emp_7"}, []string{"evt_07"}},
			"by type":        {inbox.Filter{Type: "employee.updated"}, nil},
			"by time":        {inbox.Filter{Type: "employee.created", ReceivedFrom: at(10), ReceivedBefore: at(12)}, []string{"evt_11", "evt_10"}},
			"time elsewhere": {inbox.Filter{ReceivedFrom: at(39).In(time.FixedZone("x", 3600))}, []string{"evt_39"}},
		}
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				for _, size := range []int{1, 7, 1000} {
					var got []string
					cursor := ""
					for range 100 {
						page, next, err := p.List(t.Context(), tt.filter, cursor, size)
						if err != nil {
							t.Fatal(err)
						}
						if len(page) > size || next != "" && len(page) < size {
							t.Errorf("a page of %d, not %d", len(page), size)
						}
						got = append(got, ids(page)...)
						if cursor = next; cursor == "" {
							break
						}
					}
					if diff := cmp.Diff(tt.want, got); diff != "" {
						t.Errorf("by %d: %s", size, diff)
					}
				}
			})
		}
		for _, cursor := range []string{"-1", "0", "not a cursor", "zzzzzzzzzzzzzzzzzzzz", "1; DROP TABLE inbox_events"} {
			if _, _, err := p.List(t.Context(), inbox.Filter{}, cursor, 10); !errors.Is(err, inbox.ErrBadCursor) {
				t.Errorf("cursor %q: %v", cursor, err)
			}
		}
		backlog, err := p.Backlog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if backlog.Pending != 0 || backlog.Failed != 10 || backlog.Quarantined != 10 || !backlog.Oldest.Equal(at(3)) {
			t.Errorf("backlog %+v", backlog)
		}
	})
}

func TestReprocess(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		filled(t, db).stop()
		var calls atomic.Int64
		c := config(db)
		c.Handle = func(_ context.Context, _ *sql.Tx, e *inbox.Event) error {
			calls.Add(1)
			e.Outcome = "second"
			return nil
		}
		p := start(t, c)
		eventually(t, "the failed ones", func() bool { return calls.Load() == 10 })
		if err := p.Reprocess(t.Context(), "evt_00"); err != nil { // processed before
			t.Error(err)
		}
		if err := p.Reprocess(t.Context(), "evt_02"); err != nil { // quarantined
			t.Error(err)
		}
		if err := p.Reprocess(t.Context(), "evt_nn"); !errors.Is(err, inbox.ErrNotFound) {
			t.Errorf("an unknown id: %v", err)
		}
		idle(t, db)
		if calls.Load() != 12 {
			t.Errorf("%d calls", calls.Load())
		}
		r, err := p.Get(t.Context(), "evt_02")
		if err != nil || r.Status != inbox.StatusProcessed || r.Outcome != "second" || r.Attempts != 2 || r.LastError != "cannot be processed" {
			t.Errorf("%v, %+v", err, r)
		}

		if _, err := p.ReprocessAll(t.Context(), inbox.Filter{}); err == nil {
			t.Error("reprocessed everything by leaving the status out")
		}
		n, err := p.ReprocessAll(t.Context(), inbox.Filter{Statuses: []inbox.Status{inbox.StatusQuarantined}, Key: "emp_6"})
		if err != nil || n != 1 {
			t.Errorf("%d, %v", n, err)
		}
		n, err = p.ReprocessAll(t.Context(), inbox.Filter{Statuses: []inbox.Status{inbox.StatusQuarantined, inbox.StatusIgnored}})
		if err != nil || n != 18 {
			t.Errorf("%d, %v", n, err)
		}
		idle(t, db)
		if got := statuses(t, db); got != "40 PROCESSED" {
			t.Error(got)
		}
	})
}

func TestErase(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		p := start(t, config(db))
		p.accept(t, delivery("evt_1", "emp_1", 1), delivery("evt_2", "emp_2", 1))
		idle(t, db)
		if n, err := p.Erase(t.Context(), "emp_1"); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := p.Erase(t.Context(), ""); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		for id, want := range map[string]bool{"evt_1": false, "evt_2": true} {
			if r, err := p.Get(t.Context(), id); err != nil || (len(r.Body) > 0) != want {
				t.Errorf("%s: %v, body %q", id, err, r.Body)
			}
		}
		p.accept(t, delivery("evt_1", "emp_1", 1)) // the sender repeats it
		idle(t, db)
		if got := effects(t, db); got != 2 {
			t.Errorf("%d effects", got)
		}
		if got := p.journal.count(inbox.Conflict); got != 0 {
			t.Errorf("%d conflicts with what is erased", got)
		}
	})
}

func TestRetention(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		p := filled(t, db)
		p.stop()
		old := time.Now().Add(-41 * 24 * time.Hour)
		for i := range 1200 { // more than one step
			old = old.Add(time.Millisecond)
			insertOld(t, db, fmt.Sprintf("old_%d", i), old)
		}
		// The walk goes by arrival: what is old must come first.
		shift := "UPDATE inbox_events SET seq = seq + 100000 WHERE id LIKE 'evt%'"
		if db.dialect == inbox.PostgreSQL {
			shift = "ALTER TABLE inbox_events ALTER seq DROP IDENTITY; " + shift
		}
		if _, err := db.Exec(shift); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("UPDATE inbox_events SET status = 'FAILED', due_at = $1, finished_at = NULL WHERE id IN ('old_3', 'old_700')", param(db, time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
		// The longest that the notifier tries: 30 days and a fifth.
		if _, err := db.Exec("UPDATE inbox_events SET received_at = $1 WHERE id LIKE 'evt%'", param(db, time.Now().Add(-36*24*time.Hour))); err != nil {
			t.Fatal(err)
		}
		p = start(t, config(db))
		eventually(t, "pruned", func() bool { return p.journal.count(inbox.Pruned) > 0 })
		if got := p.journal.count(inbox.Pruned); got != 1198 {
			t.Errorf("%d pruned", got)
		}
		page, _, err := p.List(t.Context(), inbox.Filter{}, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(page); len(got) != 42 || !slices.Contains(got, "old_3") || !slices.Contains(got, "old_700") {
			t.Errorf("left: %v", got)
		}
	})
}

func param(db *database, at time.Time) any {
	if db.dialect == inbox.SQLite {
		return at.UnixMicro()
	}
	return at
}

func insertOld(t *testing.T, db *database, id string, at time.Time) {
	t.Helper()
	if _, err := db.Exec(`INSERT INTO inbox_events (id, type, ordering_key, version, signature, sender_attempt, traceparent, status,
		last_error, body, sent_at, received_at, finished_at, lease, due_at, attempts, strikes, outcome, reference)
		VALUES ($1, 'a.b', '', 0, 'v1', 0, '', 'PROCESSED', '', $2, $3, $3, $3, 0, $3, 1, 0, '', '')`,
		id, []byte("{}"), param(db, at)); err != nil {
		t.Fatal(err)
	}
}

// A host that rewrites the migration by its own rules gets the same schema: the
// files hold nothing but what they promise.
func TestMigrationsAreExported(t *testing.T) {
	files := inbox.Migrations()
	f, err := files.Open("0001_inbox.sql")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

var _ webhook.Store = (*inbox.Inbox)(nil)
