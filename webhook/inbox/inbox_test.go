package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/webhook"
	"hirewire.dev/webhook/inbox"
)

func TestEachMessageTakesEffectOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		p := start(t, config(db))
		var ds []webhook.Delivery
		for i := range 1000 {
			d := delivery(fmt.Sprintf("evt_%d", i), fmt.Sprintf("emp_%d", i%100), int64(i))
			ds = append(ds, d, d)
		}
		acceptAll(t, p, ds)
		idle(t, db)
		if got := effects(t, db); got != 1000 {
			t.Errorf("%d effects", got)
		}
		if got := statuses(t, db); got != "1000 PROCESSED" {
			t.Error(got)
		}
		eventually(t, "observations", func() bool { return p.journal.count(inbox.Processed) == 1000 })
		if s, d := p.journal.count(inbox.Stored), p.journal.count(inbox.Duplicate); s != 1000 || d != 1000 {
			t.Errorf("%d stored, %d duplicates", s, d)
		}
		if n := len(p.journal.of(inbox.Stored)); n >= 1000 {
			t.Errorf("%d commits: nothing was committed together", n)
		}
	})
}

func TestOneMessageAThousandTimesAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		a, b := start(t, config(db)), start(t, config(db))
		d := delivery("evt_1", "emp_1", 1)
		var wg sync.WaitGroup
		for i := range 1000 {
			p := a
			if i%2 == 1 {
				p = b
			}
			wg.Go(func() { p.accept(t, d) })
		}
		wg.Wait()
		idle(t, db)
		if got := effects(t, db); got != 1 {
			t.Errorf("%d effects", got)
		}
		if got := statuses(t, db); got != "1 PROCESSED" {
			t.Error(got)
		}
	})
}

func TestSameIDWithAnotherBody(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		p := start(t, config(db))
		p.accept(t, delivery("evt_1", "emp_1", 1), delivery("evt_1", "emp_1", 2))
		if got := p.journal.of(inbox.Conflict); len(got) != 1 || got[0].ID != "evt_1" {
			t.Errorf("observed %+v", got)
		}
		idle(t, db)
		if got := query[int](t, db, "SELECT n FROM effects"); got != 1 {
			t.Errorf("the second body won: %d", got)
		}
	})
}

func TestWhatBecomesOfMessages(t *testing.T) {
	errBoom := errors.New("boom\x00\n\x1b[31m")
	tests := map[string]struct {
		handle   inbox.Handler
		status   inbox.Status
		attempts int
		effects  int
		lastErr  string
	}{
		"processed": {effect, inbox.StatusProcessed, 1, 1, ""},
		"ignored": {func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			return fmt.Errorf("unknown type: %w", inbox.ErrIgnore)
		}, inbox.StatusIgnored, 1, 0, ""},
		"ignored by mark": {func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			e.Ignore("an older version")
			return nil
		}, inbox.StatusIgnored, 1, 0, ""},
		"poison": {func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			effect(ctx, tx, e)
			return fmt.Errorf("employee id: %w", inbox.ErrPoison)
		}, inbox.StatusQuarantined, 1, 0, "employee id: cannot be processed"},
		"failing": {func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			effect(ctx, tx, e)
			return errBoom
		}, inbox.StatusQuarantined, 5, 0, "boom   [31m"},
		"panicking": {func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			effect(ctx, tx, e)
			panic("no luck")
		}, inbox.StatusQuarantined, 5, 0, "panic: no luck"},
		"failing twice": {func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			effect(ctx, tx, e)
			if e.Attempt <= 2 {
				return errBoom
			}
			return nil
		}, inbox.StatusProcessed, 3, 1, "boom   [31m"},
		"waiting for another service": {func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			effect(ctx, tx, e)
			if e.Attempt == 1 {
				return fmt.Errorf("fetch: %w", inbox.ErrTransient)
			}
			return nil
		}, inbox.StatusProcessed, 2, 1, "fetch: not possible at present"},
		"breaking its transaction": {func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			tx.ExecContext(ctx, "INSERT INTO no_such_table VALUES (1)")
			return effect(ctx, tx, e)
		}, "", 0, 0, ""},
		"swallowing an error": {func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			effect(ctx, tx, e)
			tx.ExecContext(ctx, "INSERT INTO no_such_table VALUES (1)")
			return nil
		}, "", 0, 0, ""},
		"ending its transaction": {func(_ context.Context, tx *sql.Tx, _ *inbox.Event) error {
			return tx.Rollback()
		}, inbox.StatusQuarantined, 5, 0, "the handler returned nil after its transaction had failed or ended: " +
			"sql: transaction has already been committed or rolled back"},
	}
	onEach(t, func(t *testing.T, db *database) {
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				db.Exec("DELETE FROM effects")
				db.Exec("DELETE FROM inbox_events")
				if tt.status == "" { // only PostgreSQL minds
					tt.status, tt.attempts, tt.effects = inbox.StatusProcessed, 1, 1
					if db.dialect == inbox.PostgreSQL {
						tt.status, tt.attempts, tt.effects = inbox.StatusQuarantined, 5, 0
						tt.lastErr = "pq: current transaction is aborted, commands ignored until end of transaction block (25P02)"
						if name == "swallowing an error" {
							tt.lastErr = "the handler returned nil after its transaction had failed or ended: " + tt.lastErr
						}
					}
				}
				c := config(db)
				c.Handle = tt.handle
				p := start(t, c)
				p.accept(t, delivery("evt_1", "emp_1", 1))
				idle(t, db)
				r, err := p.Get(t.Context(), "evt_1")
				if err != nil {
					t.Fatal(err)
				}
				if r.Status != tt.status || r.Attempts != tt.attempts || r.LastError != tt.lastErr {
					t.Errorf("%s after %d attempts, error %q; want %s after %d, %q",
						r.Status, r.Attempts, r.LastError, tt.status, tt.attempts, tt.lastErr)
				}
				if got := effects(t, db); got != tt.effects {
					t.Errorf("%d effects, want %d", got, tt.effects)
				}
				p.stop()
				if tt.status == inbox.StatusQuarantined {
					parked := p.journal.of(inbox.Parked)
					if len(parked) != 1 || parked[0].ID != "evt_1" || parked[0].Attempt != tt.attempts || parked[0].Err == nil {
						t.Errorf("observed %+v", parked)
					}
					if name == "panicking" && (!parked[0].Panicked || !strings.Contains(string(parked[0].Stack), "inbox_test.go")) {
						t.Error("the panic was not observed with its place")
					}
				}
			})
		}
	})
}

func TestNotUnderstoodIsQuarantinedOnArrival(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		p := start(t, config(db))
		broken := delivery("evt_1", "emp_1", 1)
		broken.Event, broken.Body = webhook.Event{}, []byte("\x00\xff not JSON")
		broken.Problem = &webhook.Error{Reason: webhook.ReasonInvalidJSON, Detail: "not UTF-8"}
		p.accept(t, broken, delivery("evt_5", "emp_1", 1))
		for _, d := range []webhook.Delivery{
			delivery("evt_2", "refuse", 1), delivery("evt_3", "a\x00b", 1), delivery("evt_4", strings.Repeat("x", 257), 1),
			delivery("evt_6", "panic", 1),
		} {
			for range 2 { // the answer is the same each time
				if err := p.Accept(t.Context(), d); !errors.Is(err, webhook.ErrQuarantined) {
					t.Errorf("%s: %v", d.ID, err)
				}
			}
		}
		idle(t, db)
		if got := statuses(t, db); got != "5 QUARANTINED, 1 PROCESSED" {
			t.Error(got)
		}
		r, err := p.Get(t.Context(), "evt_1")
		if err != nil {
			t.Fatal(err)
		}
		if string(r.Body) != "\x00\xff not JSON" || r.LastError != "invalid_json: not UTF-8" || r.FinishedAt.IsZero() {
			t.Errorf("kept %+v", r)
		}
		// Trying again finds out the same.
		if err := p.Reprocess(t.Context(), "evt_1"); err != nil {
			t.Fatal(err)
		}
		idle(t, db)
		if r, err = p.Get(t.Context(), "evt_1"); err != nil || r.Status != inbox.StatusQuarantined || r.Attempts != 1 {
			t.Errorf("%v, %+v", err, r)
		}
	})
}

// A failing event holds back the later ones of its key, and nobody else.
func TestOrderByKey(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		var broken atomic.Bool
		broken.Store(true)
		c := config(db)
		c.Handle = func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			if broken.Load() && e.Subject.Key == "emp_0" && e.Subject.Version == 3 {
				return fmt.Errorf("no: %w", inbox.ErrTransient)
			}
			return effect(ctx, tx, e)
		}
		p := start(t, c)
		for n := range int64(20) {
			for k := range 10 {
				p.accept(t, delivery(fmt.Sprintf("evt_%d_%02d", k, n), fmt.Sprintf("emp_%d", k), n))
			}
		}
		eventually(t, "the other keys", func() bool {
			return query[int](t, db, "SELECT count(*) FROM effects WHERE key <> 'emp_0'") == 180
		})
		if got := query[int](t, db, "SELECT count(*) FROM effects WHERE key = 'emp_0'"); got != 3 {
			t.Errorf("%d effects of the key that is held up", got)
		}
		broken.Store(false)
		idle(t, db)
		if got := effects(t, db); got != 200 {
			t.Errorf("%d effects", got)
		}
		inOrder(t, db)
	})
}

// inOrder checks that the effects of each key happened by version.
func inOrder(t *testing.T, db *database) {
	t.Helper()
	rows, err := db.Query("SELECT key, n FROM effects WHERE key <> '' ORDER BY nth")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	last := map[string]int64{}
	for rows.Next() {
		var key string
		var n int64
		if err := rows.Scan(&key, &n); err != nil {
			t.Fatal(err)
		}
		if before, ok := last[key]; ok && n < before {
			t.Errorf("%s: %d after %d", key, n, before)
		}
		last[key] = n
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// A poison event in a batch costs only itself, and the queue behind it flows.
func TestBatchFindsTheOneToBlame(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		c := config(db)
		c.Handle = nil
		c.Workers = 1
		gate := make(chan struct{})
		var largest atomic.Int64
		c.Prepare = func(context.Context, []*inbox.Event) { <-gate }
		c.HandleBatch = func(ctx context.Context, tx *sql.Tx, events []*inbox.Event) error {
			largest.Store(max(largest.Load(), int64(len(events))))
			for _, e := range events {
				if err := effect(ctx, tx, e); err != nil {
					return err
				}
				switch e.Subject.Version {
				case 50:
					panic("poison")
				case 60:
					e.Fail(fmt.Errorf("bad: %w", inbox.ErrPoison))
				case 70:
					e.Ignore("nothing to do")
				case 80:
					tx.Rollback()
				}
				e.Outcome, e.Reference = `opened "it" \ {now}`, "acc_ü,"+e.ID
			}
			return nil
		}
		p := start(t, c)
		var ds []webhook.Delivery
		for i := range int64(100) {
			ds = append(ds, delivery(fmt.Sprintf("evt_%d", i), "", i))
		}
		acceptAll(t, p, ds)
		close(gate)
		idle(t, db)
		if got := statuses(t, db); got != "3 QUARANTINED, 96 PROCESSED, 1 IGNORED" {
			t.Error(got)
		}
		if got := effects(t, db); got != 97 {
			t.Errorf("%d effects", got)
		}
		if largest.Load() < 2 {
			t.Error("there was no batch")
		}
		r, err := p.Get(t.Context(), "evt_7")
		if err != nil || r.Outcome != `opened "it" \ {now}` || r.Reference != "acc_ü,evt_7" {
			t.Errorf("%v, %+v", err, r)
		}
		if r, err = p.Get(t.Context(), "evt_50"); err != nil || r.Attempts != 5 || r.LastError != "panic: poison" {
			t.Errorf("%v, %+v", err, r)
		}
	})
}

func TestPrepareWorksOutsideTheTransaction(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		c := config(db)
		c.Prepare = func(_ context.Context, events []*inbox.Event) {
			for _, e := range events {
				// On SQLite this would wait forever inside of a transaction.
				e.Note = query[int](t, db, "SELECT count(*) FROM inbox_events") > 0
				switch {
				case e.Subject.Version == 1 && e.Attempt == 1:
					e.Fail(errors.New("first time"))
				case e.Subject.Version == 2:
					e.Fail(inbox.ErrPoison)
				case e.Subject.Version == 3:
					panic("in Prepare")
				}
			}
		}
		c.Handle = func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			if e.Note != true {
				return errors.New("not prepared")
			}
			return effect(ctx, tx, e)
		}
		p := start(t, c)
		for n := range int64(10) {
			p.accept(t, delivery(fmt.Sprintf("evt_%d", n), fmt.Sprint(n%2), n))
		}
		idle(t, db)
		if got := statuses(t, db); got != "2 QUARANTINED, 8 PROCESSED" {
			t.Error(got)
		}
		effects(t, db)
		inOrder(t, db)
	})
}

// Little room in memory means more claims, and nothing else.
func TestLittleRoom(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		c := config(db)
		c.MaxQueued, c.MaxBatch, c.Poll = 3, 2, time.Hour
		p := start(t, c)
		var ds []webhook.Delivery
		for i := range int64(300) {
			ds = append(ds, delivery(fmt.Sprintf("evt_%03d", i), fmt.Sprint(i), i))
		}
		acceptAll(t, p, ds)
		idle(t, db)
		if got := effects(t, db); got != 300 {
			t.Errorf("%d effects", got)
		}
	})
}

// What a process holds when it hangs is taken over when its leases end. Its
// late result does not count.
func TestTakesOverFromTheHanging(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		hung, woken := make(chan struct{}), make(chan struct{})
		c := config(db)
		c.Lease = 400 * time.Millisecond
		c.Prepare = func(context.Context, []*inbox.Event) {
			<-hung
		}
		c.Handle = func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			defer func() { woken <- struct{}{} }()
			return effect(ctx, tx, e)
		}
		zombie := start(t, c)
		zombie.accept(t, delivery("evt_1", "emp_1", 1), delivery("evt_2", "emp_1", 2))
		c.Prepare, c.Handle = nil, effect
		start(t, c)
		idle(t, db)
		if got := effects(t, db); got != 2 {
			t.Errorf("%d effects", got)
		}
		close(hung)
		<-woken // it comes back and does its work once more
		go func() {
			for range woken {
			}
		}()
		zombie.stop()
		close(woken)
		if got := effects(t, db); got != 2 {
			t.Errorf("%d effects after the late result", got)
		}
		if zombie.journal.count(inbox.LeaseLost) == 0 {
			t.Error("the zombie did not notice")
		}
		inOrder(t, db)
	})
}

// An event whose predecessor is open again must wait for it, even if it is about
// to be applied.
func TestWaitsForAReopenedPredecessor(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		arrived, gate := make(chan struct{}, 10), make(chan struct{})
		var first atomic.Bool
		first.Store(true)
		c := config(db)
		c.Workers = 1
		c.Prepare = func(_ context.Context, events []*inbox.Event) {
			if events[0].ID == "evt_2" && first.Swap(false) {
				arrived <- struct{}{}
				<-gate
			}
		}
		p := start(t, c)
		p.accept(t, delivery("evt_1", "emp_1", 1))
		idle(t, db)
		p.accept(t, delivery("evt_2", "emp_1", 2))
		<-arrived
		if err := p.Reprocess(t.Context(), "evt_1"); err != nil {
			t.Fatal(err)
		}
		close(gate)
		idle(t, db)
		if got := query[int](t, db, "SELECT count(*) FROM effects"); got != 3 {
			t.Errorf("%d effects", got)
		}
		inOrder(t, db)
	})
}

func TestReplicasShareADatabase(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		c := config(db)
		c.MaxQueued = 50 // so that they claim, too
		ps := []*process{start(t, c), start(t, c), start(t, c)}
		var wg sync.WaitGroup
		for k := range 60 {
			wg.Go(func() {
				for n := range int64(15) {
					// As a sender does: the next one after the answer, and some twice.
					d := delivery(fmt.Sprintf("evt_%d_%d", k, n), fmt.Sprintf("emp_%d", k), n)
					ps[(k+int(n))%3].accept(t, d)
					if n%5 == 0 {
						ps[(k+int(n)+1)%3].accept(t, d)
					}
				}
			})
		}
		wg.Wait()
		idle(t, db)
		if got := effects(t, db); got != 900 {
			t.Errorf("%d effects", got)
		}
		inOrder(t, db)
	})
}

// Losing connections, also in the middle of a commit, neither loses nor doubles
// an effect, and no event is blamed for it.
func TestConnectionsAreKilled(t *testing.T) {
	db := openPostgres(t)
	c := config(db)
	c.Lease = 2 * time.Second
	p := start(t, c)
	admin := openPostgres(t)
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				admin.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", db.dsn)
			}
		}
	})
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for n := range int64(40) {
				d := delivery(fmt.Sprintf("evt_%d_%d", g, n), fmt.Sprintf("emp_%d", g), n)
				for p.Accept(t.Context(), d) != nil { // a sender tries again
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	killer.Wait()
	eventually(t, "all effects", func() bool {
		var open int
		err := db.QueryRow("SELECT count(*) FROM inbox_events WHERE status <> 'PROCESSED'").Scan(&open)
		return err == nil && open == 0
	})
	if got := effects(t, db); got != 640 {
		t.Errorf("%d effects", got)
	}
	inOrder(t, db)
	if n := p.journal.count(inbox.Parked); n > 0 {
		t.Errorf("%d events were blamed", n)
	}
}

func TestUnavailableDatabase(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		p := start(t, config(db))
		p.accept(t, delivery("evt_1", "emp_1", 1))
		idle(t, db)
		db.Close()
		if err := p.Accept(t.Context(), delivery("evt_2", "emp_1", 2)); err == nil {
			t.Error("accepted without a database")
		}
		if _, _, err := p.List(t.Context(), inbox.Filter{}, "", 10); err == nil {
			t.Error("listed without a database")
		}
	})
}

func TestFullAndClosed(t *testing.T) {
	db := openSQLite(t)
	for name, change := range map[string]func(*inbox.Config){
		"many":  func(c *inbox.Config) { c.MaxWaiting = 1 },
		"large": func(c *inbox.Config) { c.MaxWaitingBytes = 200 },
	} {
		t.Run(name, func(t *testing.T) {
			c := config(db)
			change(&c)
			box, err := inbox.New(c)
			if err != nil {
				t.Fatal(err)
			}
			// Nobody runs it, so arrivals stay in line.
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := box.Accept(ctx, delivery("evt_1", "emp_1", 1)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the first: %v", err)
			}
			if err := box.Accept(t.Context(), delivery("evt_2", "emp_1", 1)); !errors.Is(err, inbox.ErrFull) {
				t.Errorf("the second: %v", err)
			}
		})
	}
	p := start(t, config(db))
	p.stop()
	if err := p.Accept(t.Context(), delivery("evt_1", "emp_1", 1)); !errors.Is(err, inbox.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if err := p.Accept(t.Context(), webhook.Delivery{}); err == nil {
		t.Error("accepted without an id")
	}
}

// The end of Run works off what is in memory, and gives back what takes too
// long, without its lease.
func TestStopDrains(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		c := config(db)
		c.Handle = func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			time.Sleep(time.Millisecond)
			return effect(ctx, tx, e)
		}
		p := start(t, c)
		var ds []webhook.Delivery
		for i := range int64(100) {
			ds = append(ds, delivery(fmt.Sprintf("evt_%d", i), fmt.Sprint(i%7), i))
		}
		acceptAll(t, p, ds)
		p.stop()
		if got := statuses(t, db); got != "100 PROCESSED" {
			t.Error(got)
		}

		c.Handle = func(ctx context.Context, _ *sql.Tx, _ *inbox.Event) error {
			<-ctx.Done()
			return ctx.Err()
		}
		c.DrainTimeout = 50 * time.Millisecond
		p = start(t, c)
		for i := range int64(20) {
			d := delivery(fmt.Sprintf("late_%d", i), "", i)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			p.Accept(ctx, d) // on SQLite the handler holds the only connection
			cancel()
		}
		began := time.Now()
		p.stop()
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("took %s to stop", took)
		}
		if got := query[int](t, db, "SELECT count(*) FROM inbox_events WHERE status = 'PENDING' AND lease <> 0"); got != 0 {
			t.Errorf("%d leases were not given back", got)
		}
		if got := query[int](t, db, "SELECT count(*) FROM inbox_events WHERE status = 'PENDING'"); got == 0 {
			t.Error("nothing was left over")
		}
	})
}

// The work of a predecessor is found in the table.
func TestRestart(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		c := config(db)
		c.Handle = func(context.Context, *sql.Tx, *inbox.Event) error { return inbox.ErrTransient }
		p := start(t, c)
		for i := range int64(50) {
			p.accept(t, delivery(fmt.Sprintf("evt_%02d", i), fmt.Sprint(i%3), i))
		}
		p.stop()
		start(t, config(db))
		idle(t, db)
		if got := effects(t, db); got != 50 {
			t.Errorf("%d effects", got)
		}
		inOrder(t, db)
		if got := query[int](t, db, "SELECT count(*) FROM inbox_events WHERE attempts > 1 AND strikes = 0"); got == 0 {
			t.Error("the first tries left no trace")
		}
	})
}

func TestMigrateTwiceAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		if _, err := db.Exec("DROP TABLE inbox_events"); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("DROP TABLE inbox_migrations"); err != nil {
			t.Fatal(err)
		}
		dbs := []*sql.DB{db.DB, db.DB}
		if db.dialect == inbox.SQLite {
			other, err := sql.Open("sqlite", db.dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			dbs = append(dbs, other)
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if err := inbox.Migrate(t.Context(), dbs[i%len(dbs)], db.dialect); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		p := start(t, config(db))
		p.accept(t, delivery("evt_1", "emp_1", 1))
		idle(t, db)
	})
}

func TestNewRefuses(t *testing.T) {
	db := openSQLite(t)
	for name, change := range map[string]func(*inbox.Config){
		"no database": func(c *inbox.Config) { c.DB = nil },
		"no dialect":  func(c *inbox.Config) { c.Dialect = "mysql" },
		"no handler":  func(c *inbox.Config) { c.Handle = nil },
		"two handlers": func(c *inbox.Config) {
			c.HandleBatch = func(context.Context, *sql.Tx, []*inbox.Event) error { return nil }
		},
		"short retention": func(c *inbox.Config) { c.Retention = time.Hour },
		"negative limit":  func(c *inbox.Config) { c.Lease = -1 },
		"timeout that outlasts the lease": func(c *inbox.Config) {
			c.Lease, c.HandlerTimeout = time.Second, time.Second
		},
	} {
		c := config(db)
		change(&c)
		if _, err := inbox.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The record of a message holds all that came with it.
func TestRecord(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		p := start(t, config(db))
		d := delivery("evt_1", `emp_"1\`, 7)
		p.accept(t, d)
		idle(t, db)
		got, err := p.Get(t.Context(), "evt_1")
		if err != nil {
			t.Fatal(err)
		}
		if got.FinishedAt.Before(got.ReceivedAt) || got.FinishedAt.Location() != time.UTC {
			t.Errorf("finished at %s", got.FinishedAt)
		}
		got.FinishedAt = time.Time{}
		want := inbox.Record{
			ID: "evt_1", Type: "employee.created", Subject: inbox.Subject{Key: `emp_"1\`, Version: 7},
			Status: inbox.StatusProcessed, Kind: webhook.KindHMAC, SentAt: d.SentAt,
			ReceivedAt: d.ReceivedAt.Truncate(time.Microsecond), SenderAttempt: 2, Traceparent: d.Traceparent,
			Attempts: 1, Body: d.Body,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if _, err := p.Get(t.Context(), "evt_2"); !errors.Is(err, inbox.ErrNotFound) {
			t.Errorf("an unknown id: %v", err)
		}
	})
}

// What a handler sees is what was sent, whether it comes from memory or from
// the table.
func TestEventFromMemoryAndTable(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		var mu sync.Mutex
		var seen []inbox.Event
		c := config(db)
		c.Handle = func(_ context.Context, _ *sql.Tx, e *inbox.Event) error {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, *e)
			if len(seen) == 1 {
				return errors.New("once more")
			}
			return nil
		}
		p := start(t, c)
		p.accept(t, delivery("evt_1", "emp_1", 3))
		idle(t, db)
		p.stop()
		if len(seen) != 2 {
			t.Fatalf("seen %d times", len(seen))
		}
		if seen[0].Attempt != 1 || seen[1].Attempt != 2 {
			t.Errorf("attempts %d and %d", seen[0].Attempt, seen[1].Attempt)
		}
		seen[0].Attempt = seen[1].Attempt
		if !reflect.DeepEqual(seen[0], seen[1]) {
			t.Errorf("from memory %+v\nfrom the table %+v", seen[0], seen[1])
		}
	})
}
