package storetest

import (
	"fmt"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/ingest"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
)

// Store is what the delivery engine asks of a store.
type Store interface {
	ingest.Store
	delivery.Store
}

// Subscriptions that the suite delivers to; a store needs not know them.
const (
	subA = "sub_01J8ZQ4T6Y9GZ1K3V5X7A9B2CA"
	subB = "sub_01J8ZQ4T6Y9GZ1K3V5X7A9B2CB"
)

// token is what the suite leases with, unless it says otherwise; other is another process's.
const token, other = 7 << 32, 8 << 32

// Run runs the suite. open gives a store on a new, empty database, which has token, and the database itself; again gives
// another store on the same database, as another process would have it.
func Run(t *testing.T, open func(t *testing.T) (s Store, db *sqldb.DB, again func() Store)) {
	for _, test := range []struct {
		name string
		run  func(f *fixture)
	}{
		{"publish/stores events and deliveries", publishStores},
		{"publish/known events are no harm", publishKnown},
		{"publish/other content is a conflict of the whole call", publishConflict},
		{"publish/another epoch stores nothing", publishStale},
		{"publish/a failure stores nothing", publishFails},
		{"publish/a line is leased one by one", publishLines},
		{"publish/without a token nothing is leased", publishWithoutToken},
		{"publish/what is due later waits", publishLater},
		{"publish/a lost answer does no harm", publishRetried},
		{"publish/ten thousand subscriptions", publishMany},
		{"publish/positions follow commits", publishOrder},
		{"publish/the epoch fences", publishFence},
		{"finish/moves to the history", finishEnds},
		{"finish/a retry waits", finishRetries},
		{"finish/a lost lease changes nothing", finishLost},
		{"finish/wakes the next in line", finishWakes},
		{"finish/wakes what was taken up again", finishWakesAgain},
		{"claim/takes what is due, and as much as there is room", claimDue},
		{"claim/takes the first in line", claimLines},
		{"claim/looks again soon at what is young", claimYoung},
		{"claim/no row twice", claimRace},
		{"claim/while lines move on", claimAgainstFinish},
		{"claim/without payload", claimErased},
		{"release/gives back", release},
		{"lease/ends with its holder", leaseEnds},
		{"lease/renews", leaseRenews},
		{"lease/survives a restart", leaseRestart},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, db, again := open(t)
			test.run(&fixture{T: t, Store: s, db: db, again: again})
		})
	}
}

// fixture is a test with its store.
type fixture struct {
	*testing.T
	Store
	db    *sqldb.DB
	again func() Store
}

func newEvent(employee string) *event.Event {
	e := event.New(id.New("evt"), "employee.created", time.Now(), map[string]any{"employee": map[string]any{"id": employee, "version": 1}})
	return &e
}

// batch is one call for each list of events; each event goes to each subscription.
func batch(calls [][]*event.Event, subscriptions ...string) *ingest.Batch {
	b := &ingest.Batch{Epoch: 1, Token: token, At: time.Now().UTC().Truncate(time.Microsecond)}
	for _, events := range calls {
		for _, e := range events {
			b.Events = append(b.Events, e)
			b.Sums = append(b.Sums, e.Sum())
			for _, s := range subscriptions {
				b.Deliveries = append(b.Deliveries, ingest.NewDelivery{
					ID: id.New("dlv"), Event: len(b.Events) - 1, SubscriptionID: s, Ordered: true, Lease: true,
				})
			}
		}
		b.Calls = append(b.Calls, ingest.Call{Events: len(events), Deliveries: len(events) * len(subscriptions)})
	}
	return b
}

// one is a batch of one call.
func one(subscription string, events ...*event.Event) *ingest.Batch {
	return batch([][]*event.Event{events}, subscription)
}

func (f *fixture) publish(b *ingest.Batch) {
	f.Helper()
	b.At = f.Now()
	stored, err := f.Publish(f.Context(), b)
	if err != nil || !stored {
		f.Fatalf("publish: stored %v, %v", stored, err)
	}
}

func fates(b *ingest.Batch) (fates []ingest.Fate) {
	for _, d := range b.Deliveries {
		fates = append(fates, d.Fate)
	}
	return fates
}

// count is the number that a query gives.
func (f *fixture) count(query string, args ...any) (n int) {
	f.Helper()
	if err := f.db.QueryRowContext(f.Context(), query, args...).Scan(&n); err != nil {
		f.Fatal(err)
	}
	return n
}

// rows counts the rows of all tables.
func (f *fixture) rows() string {
	f.Helper()
	return fmt.Sprint(f.count(`SELECT count(*) FROM events`), f.count(`SELECT count(*) FROM deliveries`), f.count(`SELECT count(*) FROM finished_deliveries`),
		f.count(`SELECT count(*) FROM attempts`), f.count(`SELECT COALESCE(sum(fanned_out), 0) FROM balances`))
}

// balanced checks that what was fanned out is accounted for.
func (f *fixture) balanced() {
	f.Helper()
	var out, ended int
	if err := f.db.QueryRowContext(f.Context(), `SELECT COALESCE(sum(fanned_out), 0), COALESCE(sum(delivered + dead + cancelled), 0) FROM balances`).
		Scan(&out, &ended); err != nil {
		f.Fatal(err)
	}
	if pending := f.count(`SELECT count(*) FROM deliveries`); out != ended+pending {
		f.Errorf("%d fanned out, but %d ended and %d pending", out, ended, pending)
	}
}

// leased is what the i-th delivery of a stored batch is to a dispatcher.
func leased(b *ingest.Batch, i int) delivery.Leased {
	d := b.Deliveries[i]
	e := b.Events[d.Event]
	return delivery.Leased{
		Delivery: delivery.Delivery{
			ID: d.ID, EventID: e.ID, EventType: e.Type, SubscriptionID: d.SubscriptionID, EmployeeID: e.EmployeeID, Position: e.Position,
			Status: delivery.Pending, CreatedAt: b.At,
		},
		Token: b.Token, Event: e,
	}
}

// end is an attempt's end.
func end(l delivery.Leased, status delivery.Status, wait time.Duration) delivery.Finished {
	a := delivery.Attempt{
		Number: l.Attempts + 1, StartedAt: time.Now().UTC().Truncate(time.Microsecond), Duration: 3 * time.Millisecond,
		StatusCode: 200, Outcome: delivery.OutcomeDelivered,
	}
	if status != delivery.Delivered {
		a.StatusCode, a.Outcome, a.Error, a.Snippet = 500, delivery.OutcomeRejected, `500 "oh\no"`, "{oops}, sorry\\"
	}
	return delivery.Finished{Leased: l, Attempt: a, Status: status, Wait: wait, Ordered: true}
}

func (f *fixture) finish(batch ...delivery.Finished) (held []bool, woken []string) {
	f.Helper()
	held, woken, err := f.Finish(f.Context(), batch)
	if err != nil {
		f.Fatal(err)
	}
	return held, woken
}

func (f *fixture) claim(token int64, wants ...delivery.Want) (ids []string, claimed []delivery.Leased, more []string) {
	f.Helper()
	claimed, more, err := f.Claim(f.Context(), token, wants)
	if err != nil {
		f.Fatal(err)
	}
	for _, l := range claimed {
		ids = append(ids, l.ID)
	}
	return ids, claimed, more
}

// dueNow makes everything due, as if time had passed.
func (f *fixture) dueNow() {
	f.Helper()
	if _, err := f.db.ExecContext(f.Context(), `UPDATE deliveries SET due_at = $1 WHERE lease = 0`, f.Now().Add(-time.Second)); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) enter(token int64) {
	f.Helper()
	if err := f.Enter(f.Context(), fmt.Sprint("replica-", token), token); err != nil {
		f.Fatal(err)
	}
}
