package subscription_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/notifier/internal/subscription"
)

// counted counts what the catalog reads.
type counted struct {
	subscription.Feed
	read int
}

func (c *counted) ChangedSince(ctx context.Context, since int64) (subscription.Mark, []subscription.Record, error) {
	mark, changed, err := c.Feed.ChangedSince(ctx, since)
	c.read += len(changed)
	return mark, changed, err
}

func TestTheCatalogFollowsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		feed := &counted{Feed: b.store}
		// As another replica has it.
		other := subscription.NewCatalog(feed, b.box, compile, b.store.Now, slog.New(slog.NewTextHandler(io.Discard, nil)))
		reload := func() *subscription.Snapshot {
			t.Helper()
			s, err := other.Reload(t.Context())
			if err != nil || s != other.Current() {
				t.Fatal(s, err)
			}
			return s
		}
		if s := reload(); len(s.Targets) != 0 || s.Epoch < 0 {
			t.Errorf("empty: %+v", s)
		}
		var made []subscription.Shown
		for i := range 10 {
			made = append(made, b.create(fmt.Sprintf("https://bank.test/%d", i), nil))
		}
		changed := other.Changed()
		first := reload()
		select {
		case <-changed:
		default:
			t.Error("nobody was told of the new snapshot")
		}
		if len(first.Targets) != 10 || feed.read != 10 {
			t.Errorf("%d targets of %d records read", len(first.Targets), feed.read)
		}
		if again := reload(); again != first {
			t.Error("another snapshot although nothing changed")
		}

		if _, err := b.service.Pause(t.Context(), bankA, made[3].ID); err != nil {
			t.Fatal(err)
		}
		if err := b.service.Delete(t.Context(), bankA, made[4].ID); err != nil {
			t.Fatal(err)
		}
		next := reload()
		if feed.read != 12 {
			t.Errorf("read %d records for 2 changes", feed.read-10)
		}
		if next.Targets[made[3].ID].Status != subscription.Paused || next.Targets[made[4].ID] != nil || len(next.Targets) != 9 {
			t.Errorf("after pausing one and deleting one: %d targets, %s", len(next.Targets), next.Targets[made[3].ID].Status)
		}
		if next.Targets[made[5].ID] != first.Targets[made[5].ID] {
			t.Error("a target was made anew although its subscription has not changed")
		}
		if first.Targets[made[3].ID].Status != subscription.PendingVerification || len(first.Targets) != 10 {
			t.Error("a snapshot has changed")
		}
	})
}

func TestKeysEndOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		s := b.create(hook, nil)
		defer b.run(b.catalog.Run)()
		for _, overlap := range []time.Duration{time.Minute, 30 * time.Second} {
			if _, err := b.service.Rotate(t.Context(), bankA, s.ID, subscription.Rotation{Overlap: overlap}); err != nil {
				t.Fatal(err)
			}
		}
		signatures := func() int {
			target := b.catalog.Current().Targets[s.ID]
			return len(strings.Fields(target.Signer.Sign("evt_1", time.Now(), []byte("{}"))))
		}
		if n := signatures(); n != 3 {
			t.Errorf("%d signatures in the overlap", n)
		}
		// A later, shorter overlap ends the earlier one too.
		time.Sleep(31 * time.Second)
		if n := signatures(); n != 1 {
			t.Errorf("%d signatures after it", n)
		}
	})
}

func TestMatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		for i, c := range []struct {
			types  []string
			filter string
			want   string
		}{
			{nil, "", "employee.created employee.updated employee.terminated"},
			{[]string{"employee.*"}, "", "employee.created employee.updated employee.terminated"},
			{[]string{"employee.updated"}, "", "employee.updated"},
			{[]string{"employee.updated", "employee.created"}, "", "employee.created employee.updated"},
			{nil, "employee.created", "employee.created"},
			{[]string{"employee.updated"}, "employee.created", ""},
		} {
			s := b.create(fmt.Sprintf("https://bank.test/%d", i), func(d *subscription.Draft) { d.EventTypes, d.Filter = c.types, c.filter })
			target := b.catalog.Current().Targets[s.ID]
			var got []string
			for _, typ := range []string{"employee.created", "employee.updated", "employee.terminated"} {
				if target.Match(&subscription.Candidate{Type: typ}) {
					got = append(got, typ)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%v and %q match %v, want %s", c.types, c.filter, got, c.want)
			}
		}
	})
}

// TestAFilterThatDoesNotCompileStopsTheReload has a catalog whose code knows less than the one that took the filter.
func TestAFilterThatDoesNotCompileStopsTheReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		b.create(hook, func(d *subscription.Draft) { d.Filter = "employee.created" })
		older := subscription.NewCatalog(b.store, b.box, func(string) (func(*subscription.Candidate) bool, error) {
			return nil, errors.New("unknown function")
		}, b.store.Now, slog.New(slog.NewTextHandler(io.Discard, nil)))
		if _, err := older.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown function") {
			t.Errorf("reload: %v; want an error, as it cannot tell who may see what", err)
		}
		if older.Current().Epoch != -1 {
			t.Error("the snapshot claims to be current")
		}
	})
}
