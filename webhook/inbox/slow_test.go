package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/webhook"
	"hirewire.dev/webhook/inbox"
)

// A backlog that a handler needs much longer for than a lease is worked off at
// the handler's own speed.
func TestSlowHandlerWorksOffABacklog(t *testing.T) {
	tests := map[string]struct {
		each    time.Duration
		events  int
		prepare bool
	}{
		"60 ms each":             {60 * time.Millisecond, 600, false},
		"200 ms each":            {200 * time.Millisecond, 600, false},
		"most of the timeout":    {9 * time.Second, 20, false},
		"200 ms each to prepare": {200 * time.Millisecond, 600, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "inbox.db")
			synctest.Test(t, func(t *testing.T) {
				db := sqliteAt(t, path)
				leftBehind(t, db, tt.events)
				c := inbox.Config{
					DB: db.DB, Dialect: db.dialect, Subject: subject,
					Handle: func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
						if !tt.prepare {
							time.Sleep(tt.each)
						}
						return effect(ctx, tx, e)
					},
				}
				if tt.prepare {
					c.Prepare = func(_ context.Context, events []*inbox.Event) {
						for range events {
							time.Sleep(tt.each)
						}
					}
				}
				p := start(t, c)
				time.Sleep(time.Duration(tt.events)*tt.each*3/2 + time.Minute)
				if got, want := statuses(t, db), fmt.Sprintf("%d PROCESSED", tt.events); got != want {
					t.Errorf("%s, want %s", got, want)
				}
				effects(t, db)
				p.stop()
			})
		})
	}
}

// leftBehind stores what another process accepted and did not come to.
func leftBehind(t *testing.T, db *database, n int) {
	t.Helper()
	c := config(db)
	c.Handle = func(context.Context, *sql.Tx, *inbox.Event) error { return inbox.ErrTransient }
	c.MaxQueued = 1
	p := start(t, c)
	var ds []webhook.Delivery
	for i := range n {
		ds = append(ds, delivery(fmt.Sprintf("evt_%d", i), fmt.Sprintf("emp_%d", i), 1))
	}
	acceptAll(t, p, ds)
	p.stop()
}

// The same with a burst on both databases, and with little time.
func TestSlowHandlerAndABurst(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		c := config(db)
		c.Lease = 600 * time.Millisecond
		c.Handle = func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			time.Sleep(10 * time.Millisecond)
			return effect(ctx, tx, e)
		}
		p := start(t, c)
		var ds []webhook.Delivery
		for i := range 200 {
			ds = append(ds, delivery(fmt.Sprintf("evt_%d", i), fmt.Sprintf("emp_%d", i%100), int64(i)))
		}
		acceptAll(t, p, ds)
		idle(t, db)
		if got := statuses(t, db); got != "200 PROCESSED" {
			t.Error(got)
		}
		effects(t, db)
		inOrder(t, db)
	})
}

// One that always hangs costs the others little, since after the first time it
// is tried alone.
func TestHangingEventIsTriedAlone(t *testing.T) {
	onEach(t, func(t *testing.T, db *database) {
		c := config(db)
		c.Workers = 1
		c.Lease = 600 * time.Millisecond
		together := 0
		c.Handle = nil
		c.HandleBatch = func(ctx context.Context, tx *sql.Tx, events []*inbox.Event) error {
			for _, e := range events {
				if e.Subject.Key == "hangs" {
					if e.Attempt > 1 && len(events) > 1 {
						together++
					}
					<-ctx.Done()
					return errors.New("what a driver says then")
				}
				if err := effect(ctx, tx, e); err != nil {
					return err
				}
			}
			return nil
		}
		p := start(t, c)
		var ds []webhook.Delivery
		for i := range 200 {
			key := fmt.Sprintf("emp_%d", i)
			if i == 50 {
				key = "hangs"
			}
			ds = append(ds, delivery(fmt.Sprintf("evt_%d", i), key, int64(i)))
		}
		acceptAll(t, p, ds)
		eventually(t, "the others and a retry", func() bool {
			r, err := p.Get(t.Context(), "evt_50")
			return err == nil && r.Attempts >= 2 && r.LastError == "took too long" &&
				query[int](t, db, "SELECT count(*) FROM effects") == 199
		})
		p.stop()
		if together > 0 {
			t.Errorf("it held others up %d times more", together)
		}
	})
}
