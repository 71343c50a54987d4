package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/sqlstore"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

// eachEngine runs a test on a new, migrated store of each engine.
func eachEngine(t *testing.T, test func(t *testing.T, s opened)) {
	t.Helper()
	sqldbtest.Run(t, func(t *testing.T, open func(*testing.T) *sqldb.DB) {
		db := open(t)
		s := opened{sqlstore.New(db), db}
		t.Cleanup(func() { _ = s.Close() })
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, s)
	})
}

// opened is a store, and its database for looking behind its back.
type opened struct {
	*sqlstore.Store
	db *sqldb.DB
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// record is a subscription with every field set.
func record(name string) subscription.Record {
	at := now()
	subID := id.New("sub")
	return subscription.Record{
		Subscription: subscription.Subscription{
			ID: subID, Owner: "bank-a", Name: name, Description: "what for", Contact: "ops@bank.test", URL: "https://bank.test/hook",
			EventTypes: []string{"employee.created", "employee.updated"}, Filter: `event.type != ""`,
			Status: subscription.PendingVerification, StatusReason: "why", Payload: subscription.Thin, Format: subscription.XML,
			MaxInFlight: 3, RatePerSec: 4, Schedule: []time.Duration{0, time.Second, 90 * time.Minute},
			Ordering: subscription.Unordered, Signature: subscription.V1, Labels: map[string]string{"team": "payroll", "x": ""},
			Revision: 1, CreatedAt: at, UpdatedAt: at, FailingSince: at.Add(-time.Hour),
		},
		VerifiedAt: at.Add(-time.Minute),
		Challenge:  subscription.Challenge{DueAt: at, Tries: 2, Token: 7},
		Keys: []subscription.Key{
			{ID: id.New("sgk"), Kind: subscription.V1, SealKey: "dky_1", Sealed: []byte{0, 1, 255}, CreatedAt: at},
		},
	}
}

func entry(resource string) audit.Entry {
	return audit.Entry{
		ID: id.New("aud"), At: now(), Actor: "admin", Action: "Test", Resource: resource,
		After: map[string]any{"name": "x", "n": 1.0, "list": []any{"a"}}, RequestID: "r1",
	}
}

func create(t *testing.T, s opened, r subscription.Record) {
	t.Helper()
	before, err := s.Create(t.Context(), r, nil, access.Request{}, entry(r.ID))
	if err != nil || before != nil {
		t.Fatalf("create: %v, %v", before, err)
	}
}

func TestSubscriptionKeepsEveryField(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		r := record("one")
		create(t, s, r)
		got, err := s.Get(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("stored and read back (-want +got):\n%s", diff)
		}
		mark, changed, err := s.ChangedSince(t.Context(), -1)
		if err != nil || len(changed) != 1 {
			t.Fatalf("changed since the beginning: %d, %v", len(changed), err)
		}
		if diff := cmp.Diff(r, changed[0]); diff != "" {
			t.Errorf("as changed (-want +got):\n%s", diff)
		}
		if _, changed, err = s.ChangedSince(t.Context(), mark.Change); err != nil || len(changed) != 0 {
			t.Errorf("changed since now: %d, %v", len(changed), err)
		}
	})
}

func TestNamesAreUniqueForTheirOwner(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		a := record("same")
		create(t, s, a)
		if _, err := s.Create(t.Context(), record("same"), nil, access.Request{}, entry("x")); !errors.Is(err, subscription.ErrNameTaken) {
			t.Fatalf("second of the name: %v", err)
		}
		other := record("same")
		other.Owner = "bank-b"
		create(t, s, other)
		b := record("else")
		create(t, s, b)
		_, _, err := s.Update(t.Context(), b.ID, access.Request{}, func(r *subscription.Record) (*audit.Entry, error) {
			r.Name = "same"
			e := entry(r.ID)
			return &e, nil
		})
		if !errors.Is(err, subscription.ErrNameTaken) {
			t.Fatalf("renamed to a taken name: %v", err)
		}
		remove(t, s, a.ID)
		create(t, s, record("same")) // a deleted one frees its name
	})
}

func remove(t *testing.T, s opened, subID string) {
	t.Helper()
	if _, _, err := s.Update(t.Context(), subID, access.Request{}, func(r *subscription.Record) (*audit.Entry, error) {
		r.DeletedAt, r.Keys = now(), nil
		e := entry(r.ID)
		return &e, nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestARequestIsMadeOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		var mu sync.Mutex
		first := map[string]int{}
		var wait sync.WaitGroup
		for range 20 {
			wait.Go(func() {
				r := record("one")
				req := access.Request{Actor: "bank-a", ID: "key-1", Content: [32]byte{1}, Resource: r.ID, Sealed: []byte("s"), SealKey: "k", At: now()}
				before, err := s.Create(context.WithoutCancel(t.Context()), r, nil, req, entry(r.ID))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if before == nil {
					first[r.ID]++
				} else {
					first[before.Resource]++
				}
			})
		}
		wait.Wait()
		if len(first) != 1 {
			t.Errorf("20 calls with one request id made %d subscriptions", len(first))
		}
		other := record("two")
		if before, err := s.Create(t.Context(), other, nil, access.Request{Actor: "bank-b", ID: "key-1", Resource: other.ID, At: now()}, entry(other.ID)); err != nil || before != nil {
			t.Errorf("the same request id of another caller: %v, %v", before, err)
		}
	})
}

func TestEachChangeIsNumberedAndAudited(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		r := record("one")
		create(t, s, r)
		before, err := s.Mark(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		unchanged := func(*subscription.Record) (*audit.Entry, error) { return nil, nil }
		if _, _, err := s.Update(t.Context(), r.ID, access.Request{}, unchanged); err != nil {
			t.Fatal(err)
		}
		if m, _ := s.Mark(t.Context()); m != before {
			t.Errorf("an update that changes nothing moved %v to %v", before, m)
		}
		got, _, err := s.Update(t.Context(), r.ID, access.Request{}, func(r *subscription.Record) (*audit.Entry, error) {
			r.Name, r.Revision, r.Labels = "renamed", 2, map[string]string{"new": "1"}
			r.Keys[0].ExpiresAt = now()
			r.Keys = append([]subscription.Key{{ID: id.New("sgk"), Kind: subscription.V1A, SealKey: "k", Sealed: []byte("x"), PublicKey: "whpk_x", CreatedAt: now()}}, r.Keys...)
			e := entry(r.ID)
			e.Action, e.Before = "Rename", map[string]any{"name": "one"}
			return &e, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		stored, err := s.Get(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, stored); diff != "" {
			t.Errorf("answered and stored (-answer +stored):\n%s", diff)
		}
		if m, _ := s.Mark(t.Context()); m.Change != before.Change+1 || m.Epoch != before.Epoch {
			t.Errorf("a new name and key moved %v to %v", before, m)
		}
		if _, _, err := s.Update(t.Context(), r.ID, access.Request{}, func(r *subscription.Record) (*audit.Entry, error) {
			r.EventTypes = nil
			e := entry(r.ID)
			return &e, nil
		}); err != nil {
			t.Fatal(err)
		}
		if m, _ := s.Mark(t.Context()); m.Change != before.Change+2 || m.Epoch != before.Epoch+1 {
			t.Errorf("a change of the types then moved %v to %v", before, m)
		}
		entries, err := s.AuditEntries(t.Context(), audit.Query{Resource: r.ID, Limit: 10})
		if err != nil || len(entries) != 3 {
			t.Fatalf("audit: %d entries, %v", len(entries), err)
		}
		entries = entries[1:]
		if entries[0].Action != "Rename" || entries[0].Before["name"] != "one" || entries[1].After["n"] != 1.0 || entries[1].Before != nil {
			t.Errorf("audit, newest first: %+v", entries)
		}
		failed := errors.New("no")
		if _, _, err := s.Update(t.Context(), r.ID, access.Request{}, func(r *subscription.Record) (*audit.Entry, error) {
			return nil, failed
		}); !errors.Is(err, failed) {
			t.Errorf("error of the function: %v", err)
		}
	})
}

func TestListFilters(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		for i := range 7 {
			r := record(fmt.Sprintf("s%d", i))
			r.Labels = map[string]string{"n": fmt.Sprint(i % 2)}
			if i == 3 {
				r.Owner, r.Status, r.Labels = "bank-b", subscription.Active, nil
			}
			create(t, s, r)
		}
		bankB, one, empty := "bank-b", "1", ""
		for name, c := range map[string]struct {
			q    subscription.Query
			want []string
		}{
			"all":          {subscription.Query{}, []string{"s0", "s1", "s2", "s3", "s4", "s5", "s6"}},
			"page":         {subscription.Query{Limit: 2}, []string{"s0", "s1"}},
			"owner":        {subscription.Query{Owner: &bankB}, []string{"s3"}},
			"nobody's":     {subscription.Query{Owner: &empty}, nil},
			"status":       {subscription.Query{Status: subscription.Active}, []string{"s3"}},
			"name":         {subscription.Query{Name: "s4"}, []string{"s4"}},
			"label":        {subscription.Query{LabelKey: "n", LabelValue: &one}, []string{"s1", "s5"}},
			"label exists": {subscription.Query{LabelKey: "n", Limit: 3}, []string{"s0", "s1", "s2"}},
		} {
			t.Run(name, func(t *testing.T) {
				if c.q.Limit == 0 {
					c.q.Limit = 100
				}
				list, err := s.List(t.Context(), c.q)
				if err != nil {
					t.Fatal(err)
				}
				var names []string
				for _, sub := range list {
					names = append(names, sub.Name)
				}
				if diff := cmp.Diff(c.want, names); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	})
}

func TestADueChallengeIsClaimedOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		r := record("one")
		r.Challenge = subscription.Challenge{DueAt: now().Add(-time.Second)}
		create(t, s, r)
		var mu sync.Mutex
		var claimed []subscription.Record
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				got, err := s.ClaimChallenges(context.WithoutCancel(t.Context()), now(), time.Minute, 5)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				claimed = append(claimed, got...)
			})
		}
		wait.Wait()
		if len(claimed) != 1 {
			t.Fatalf("8 replicas claimed a challenge %d times", len(claimed))
		}
		c := claimed[0].Challenge
		c.Tries, c.DueAt = 1, now().Add(time.Hour)
		stale := c
		stale.Token--
		if err := s.PostponeChallenge(t.Context(), r.ID, stale, "stale"); err != nil {
			t.Fatal(err)
		}
		if err := s.PostponeChallenge(t.Context(), r.ID, c, "later"); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got.Challenge); diff != "" || got.StatusReason != "later" {
			t.Errorf("postponed: %s, %q", diff, got.StatusReason)
		}
	})
}

func TestDeletingCancelsWhatIsPending(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		r, other := record("one"), record("two")
		create(t, s, r)
		create(t, s, other)
		const pending = 2500
		insertPending(t, s, r.ID, pending)
		insertPending(t, s, other.ID, 3)
		remove(t, s, r.ID)
		if _, err := s.Get(t.Context(), r.ID); !errors.Is(err, subscription.ErrNotFound) {
			t.Errorf("a deleted subscription: %v", err)
		}
		_, changed, err := s.ChangedSince(t.Context(), -1)
		if err != nil || len(changed) != 2 || changed[0].DeletedAt.IsZero() || len(changed[0].Keys) != 0 {
			t.Errorf("replicas are told of the deletion: %+v, %v", changed, err)
		}
		for {
			n, err := s.CancelPending(t.Context(), 700)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
		}
		var cancelled, left, counted int
		for query, dest := range map[string]*int{
			`SELECT count(*) FROM finished_deliveries WHERE status = 'CANCELLED' AND subscription_id = $1`: &cancelled,
			`SELECT count(*) FROM deliveries WHERE subscription_id = $1`:                                   &left,
			`SELECT COALESCE(sum(cancelled), 0) FROM balances WHERE subscription_id = $1`:                  &counted,
		} {
			if err := s.db.GetContext(t.Context(), dest, query, r.ID); err != nil {
				t.Fatal(err)
			}
		}
		if cancelled != pending || left != 0 || counted != pending {
			t.Errorf("of %d pending, %d are cancelled, %d counted as such, %d left", pending, cancelled, counted, left)
		}
		if err := s.db.GetContext(t.Context(), &left, `SELECT count(*) FROM deliveries WHERE subscription_id = $1`, other.ID); err != nil || left != 3 {
			t.Errorf("another subscription has %d pending, %v; want 3", left, err)
		}
	})
}

func insertPending(t *testing.T, s opened, subID string, n int) {
	t.Helper()
	if err := s.db.InTx(t.Context(), func(tx *sqldb.Tx) error {
		for i := range n {
			if _, err := tx.ExecContext(t.Context(), `INSERT INTO deliveries (id, event_id, event_type, subscription_id, employee_id, position, due_at, created_at)
				VALUES ($1, $2, 'employee.created', $3, $4, $5, $6, $6)`,
				id.New("dlv"), fmt.Sprintf("evt_%d", i), subID, fmt.Sprintf("emp_%d", i), i+1, now()); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestFailingIsNotedAndToldOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		r := record("one")
		r.FailingSince = time.Time{}
		create(t, s, r)
		since := now().Add(-time.Minute)
		before, _ := s.Mark(t.Context())
		for range 2 {
			if err := s.SetFailing(t.Context(), r.ID, since); err != nil {
				t.Fatal(err)
			}
		}
		if m, _ := s.Mark(t.Context()); m.Change != before.Change+1 || m.Epoch != before.Epoch {
			t.Errorf("noting it twice moved %v to %v", before, m)
		}
		got, err := s.Get(t.Context(), r.ID)
		if err != nil || !got.FailingSince.Equal(since) || got.Revision != 1 {
			t.Errorf("failing since %v, revision %d, %v", got.FailingSince, got.Revision, err)
		}
		for i, want := range []bool{true, false} {
			if first, err := s.Warned(t.Context(), r.ID, since, now()); err != nil || first != want {
				t.Errorf("warning %d is the first: %v, %v", i, first, err)
			}
		}
		if err := s.SetFailing(t.Context(), r.ID, time.Time{}); err != nil {
			t.Fatal(err)
		}
		if first, err := s.Warned(t.Context(), r.ID, since, now()); err != nil || first {
			t.Errorf("warning of one that is well: %v, %v", first, err)
		}
	})
}

func TestForgetLeavesWhatIsNeeded(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		r := record("one")
		r.Keys = append(r.Keys, subscription.Key{ID: id.New("sgk"), Kind: subscription.V1, SealKey: "k", Sealed: []byte("old"), CreatedAt: now(), ExpiresAt: now().Add(-time.Hour)})
		req := access.Request{Actor: "a", ID: "1", Resource: r.ID, SealKey: "k", Sealed: []byte("secret"), At: now().Add(-25 * time.Hour)}
		if _, err := s.Create(t.Context(), r, nil, req, entry(r.ID)); err != nil {
			t.Fatal(err)
		}
		if err := s.Forget(t.Context(), now(), now().Add(-30*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(t.Context(), r.ID)
		if err != nil || len(got.Keys) != 1 {
			t.Errorf("keys after forgetting: %d, %v; want the one in force", len(got.Keys), err)
		}
		again := record("two")
		before, err := s.Create(t.Context(), again, nil, access.Request{Actor: "a", ID: "1", Resource: again.ID, At: now()}, entry("x"))
		if err != nil || before == nil || before.Sealed != nil {
			t.Errorf("a request of yesterday: %+v, %v; want it without its secret", before, err)
		}
	})
}

func TestStock(t *testing.T) {
	eachEngine(t, func(t *testing.T, s opened) {
		if stock, err := s.Stock(t.Context()); err != nil || !stock.OldestDue.IsZero() || len(stock.Subscriptions) != 0 {
			t.Errorf("empty: %+v, %v", stock, err)
		}
		active, paused := record("active"), record("paused")
		active.Status, paused.Status, paused.FailingSince = subscription.Active, subscription.Paused, time.Time{}
		create(t, s, active)
		create(t, s, paused)
		insertPending(t, s, paused.ID, 2)
		if stock, err := s.Stock(t.Context()); err != nil || !stock.OldestDue.IsZero() {
			t.Errorf("with held deliveries only, the oldest is due since %v, %v", stock.OldestDue, err)
		}
		before := now()
		insertPending(t, s, active.ID, 3)
		stock, err := s.Stock(t.Context())
		if err != nil || stock.OldestDue.Before(before) || stock.OldestDue.After(now()) {
			t.Errorf("the oldest is due since %v, %v", stock.OldestDue, err)
		}
		if stock.Subscriptions[subscription.Active] != 1 || stock.Subscriptions[subscription.Paused] != 1 || stock.Failing != 1 {
			t.Errorf("%+v", stock)
		}
	})
}
