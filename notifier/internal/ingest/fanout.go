package ingest

import (
	"cmp"
	"slices"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/subscription"
)

type snapshot = subscription.Snapshot

// fanout makes batches. Its memory is used again for the next one.
type fanout struct {
	batch  Batch
	places []delivery.Places

	snapshot  *snapshot
	targets   []*subscription.Target // of the snapshot, by id: batches of all replicas take their rows in the same order
	targetOf  []int32                // for each delivery, the index of its target
	placeOf   []int32                // for each target, its index in places, from 1
	budgetOf  []*int                 // for each target, what the filters of its owner may still cost; nil: no limit
	budgets   []*int                 // all of them
	left      []int                  // for each place, what is left of the grant
	candidate subscription.Candidate
	data      func() map[string]any // of the candidate
	parsed    bool
	parsedTo  map[string]any
}

// build makes the batch of the calls: a delivery for each event and each subscription that wants it.
func (f *fanout) build(calls []call, which []int, s *snapshot, conf Config) {
	f.look(s)
	b := &f.batch
	b.Epoch = s.Epoch
	for _, n := range which {
		c := &calls[n]
		before := len(b.Deliveries)
		for i := range c.events {
			e := &c.events[i]
			b.Events = append(b.Events, e)
			b.Sums = append(b.Sums, c.sums[i])
			f.event(e, c.only, conf)
		}
		b.Calls = append(b.Calls, Call{Events: len(c.events), Deliveries: len(b.Deliveries) - before})
	}
}

// look sorts the targets of a new snapshot.
func (f *fanout) look(s *snapshot) {
	if s == f.snapshot {
		return
	}
	f.targets = make([]*subscription.Target, 0, len(s.Targets))
	for _, t := range s.Targets {
		f.targets = append(f.targets, t)
	}
	slices.SortFunc(f.targets, func(a, b *subscription.Target) int { return cmp.Compare(a.ID, b.ID) })
	f.placeOf = make([]int32, len(f.targets))
	f.lookAtBudgets()
	f.snapshot = s
}

// lookAtBudgets gives each owner a budget. The administrators' own subscriptions have no limit.
func (f *fanout) lookAtBudgets() {
	f.budgetOf, f.budgets = make([]*int, len(f.targets)), nil
	byOwner := map[string]*int{}
	for i, t := range f.targets {
		if t.Owner == "" || t.Filter == "" {
			continue
		}
		if byOwner[t.Owner] == nil {
			byOwner[t.Owner] = new(int)
			f.budgets = append(f.budgets, byOwner[t.Owner])
		}
		f.budgetOf[i] = byOwner[t.Owner]
	}
}

func (f *fanout) event(e *event.Event, only string, conf Config) {
	if f.data == nil {
		f.data = f.parse
	}
	f.candidate = subscription.Candidate{
		ID: e.ID, Type: e.Type, EmployeeID: e.EmployeeID, Version: e.Version, OccurredAt: e.OccurredAt, Data: f.data,
	}
	f.parsed, f.parsedTo = false, nil
	for _, b := range f.budgets {
		*b = subscription.OwnerBudget
	}
	for i, t := range f.targets {
		if only != "" {
			if t.ID == only {
				f.deliver(i, conf)
			}
			continue
		}
		f.candidate.Budget = f.budgetOf[i]
		if t.Match(&f.candidate) {
			f.deliver(i, conf)
		}
	}
}

// parse reads the latest event's data, once.
func (f *fanout) parse() map[string]any {
	if !f.parsed {
		f.parsed, f.parsedTo = true, f.batch.Events[len(f.batch.Events)-1].Data()
	}
	return f.parsedTo
}

// deliver adds a delivery of the latest event to a target.
func (f *fanout) deliver(target int, conf Config) {
	t := f.targets[target]
	place := f.placeOf[target]
	if place == 0 {
		f.places = append(f.places, delivery.Places{Target: t})
		place = int32(len(f.places))
		f.placeOf[target] = place
	}
	wait := firstWait(t, conf)
	if wait == 0 {
		f.places[place-1].Wanted++
	}
	f.targetOf = append(f.targetOf, int32(target))
	f.batch.Deliveries = append(f.batch.Deliveries, NewDelivery{
		ID: conf.NewID(), Event: len(f.batch.Events) - 1, SubscriptionID: t.ID, Ordered: t.Ordering != subscription.Unordered, Wait: wait,
	})
}

func firstWait(t *subscription.Target, conf Config) time.Duration {
	if len(t.Schedule) > 0 {
		return t.Schedule[0]
	}
	return conf.Schedule[0]
}

// grant asks for leases as far as there are places.
func (f *fanout) grant() {
	f.left = f.left[:0]
	for i := range f.places {
		f.left = append(f.left, f.places[i].Granted)
	}
	for i := range f.batch.Deliveries {
		d := &f.batch.Deliveries[i]
		left := &f.left[f.placeOf[f.targetOf[i]]-1]
		if d.Lease = d.Wait == 0 && *left > 0; d.Lease {
			*left--
		}
	}
}

// outcome says what was stored leased, and what without.
func (f *fanout) outcome() (leased []delivery.Leased, waiting []delivery.Waiting) {
	b := &f.batch
	leased = make([]delivery.Leased, 0, len(b.Deliveries))
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		switch e := b.Events[d.Event]; d.Fate {
		case Leased:
			leased = append(leased, delivery.Leased{
				Delivery: delivery.Delivery{
					ID: d.ID, EventID: e.ID, EventType: e.Type, SubscriptionID: d.SubscriptionID, EmployeeID: e.EmployeeID,
					Position: e.Position, Status: delivery.Pending, DueAt: b.At, CreatedAt: b.At,
				},
				Token: b.Token, Event: e,
			})
		case Queued:
			waiting = append(waiting, delivery.Waiting{SubscriptionID: d.SubscriptionID, Wait: d.Wait})
		case Blocked:
			waiting = append(waiting, delivery.Waiting{SubscriptionID: d.SubscriptionID, Blocked: true})
		case Absent:
		}
	}
	return leased, waiting
}

// maxKept is how much memory for deliveries is kept for the next batch.
const maxKept = 4096

// forget makes ready for the next batch.
func (f *fanout) forget() {
	clear(f.placeOf)
	b := &f.batch
	clear(b.Events)
	clear(b.Deliveries)
	if cap(b.Deliveries) > maxKept {
		b.Deliveries, f.targetOf, f.places, f.left = nil, nil, nil, nil
	}
	f.targetOf, f.places = f.targetOf[:0], f.places[:0]
	*b = Batch{Events: b.Events[:0], Sums: b.Sums[:0], Deliveries: b.Deliveries[:0], Calls: b.Calls[:0]}
}
