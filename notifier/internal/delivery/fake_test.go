package delivery_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/subscription"
)

// fakeStore is a delivery.Store in memory.
type fakeStore struct {
	mu       sync.Mutex
	tokens   map[int64]time.Time
	rows     map[string]map[string]*fakeRow // by subscription and id
	lines    map[string]int                 // how many rows a subscription has of an employee
	history  map[string]delivery.Finished
	attempts map[string][]delivery.Attempt
	fail     func(op string) error // before it is done
	finishes int
	claims   int
	replicas int
	refuse   string // the id of a delivery whose end is never taken
	erasures []delivery.Erasure
}

type fakeRow struct {
	delivery.Leased
	lease int64
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		tokens: map[int64]time.Time{}, rows: map[string]map[string]*fakeRow{}, lines: map[string]int{}, history: map[string]delivery.Finished{}, attempts: map[string][]delivery.Attempt{},
		fail: func(string) error { return nil }, replicas: 1,
	}
}

func (s *fakeStore) add(r *fakeRow) {
	if s.rows[r.SubscriptionID] == nil {
		s.rows[r.SubscriptionID] = map[string]*fakeRow{}
	}
	s.rows[r.SubscriptionID][r.ID] = r
	s.lines[r.SubscriptionID+r.EmployeeID]++
}

func (s *fakeStore) all() iter.Seq[*fakeRow] {
	return func(yield func(*fakeRow) bool) {
		for _, rows := range s.rows {
			for _, r := range rows {
				if !yield(r) {
					return
				}
			}
		}
	}
}

func (s *fakeStore) begin(op string) (func(), error) {
	s.mu.Lock()
	if err := s.fail(op); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	return s.mu.Unlock, nil
}

func (s *fakeStore) Enter(_ context.Context, _ string, token int64) error {
	if delivery.Holder(token) != token {
		return errors.New("not a holder")
	}
	end, err := s.begin("enter")
	if err != nil {
		return err
	}
	defer end()
	s.tokens[token] = time.Now()
	return nil
}

func (s *fakeStore) Renew(_ context.Context, tokens []int64) (lost []int64, replicas int, err error) {
	end, err := s.begin("renew")
	if err != nil {
		return nil, 0, err
	}
	defer end()
	for _, t := range tokens {
		if _, ok := s.tokens[t]; !ok {
			lost = append(lost, t)
			continue
		}
		s.tokens[t] = time.Now()
	}
	return lost, s.replicas, nil
}

func (s *fakeStore) Expire(_ context.Context, ttl time.Duration) (int, error) {
	end, err := s.begin("expire")
	if err != nil {
		return 0, err
	}
	defer end()
	n := 0
	for t, seen := range s.tokens {
		if time.Since(seen) > ttl {
			n += s.free(t)
		}
	}
	return n, nil
}

func (s *fakeStore) Leave(_ context.Context, token int64) (int, error) {
	end, err := s.begin("leave")
	if err != nil {
		return 0, err
	}
	defer end()
	return s.free(token), nil
}

func (s *fakeStore) free(token int64) (n int) {
	delete(s.tokens, token)
	for r := range s.all() {
		if delivery.Holder(r.lease) == token {
			r.lease = 0
			n++
		}
	}
	return n
}

func (s *fakeStore) Claim(_ context.Context, token int64, wants []delivery.Want) (claimed []delivery.Leased, more []string, err error) {
	end, err := s.begin("claim")
	if err != nil {
		return nil, nil, err
	}
	defer end()
	s.claims++
	if _, ok := s.tokens[delivery.Holder(token)]; !ok {
		return nil, nil, nil
	}
	now := time.Now()
	for _, w := range wants {
		var due []*fakeRow
		first := map[string]int64{}
		for _, r := range s.rows[w.SubscriptionID] {
			if p, ok := first[r.EmployeeID]; !ok || r.Position < p {
				first[r.EmployeeID] = r.Position
			}
		}
		for _, r := range s.rows[w.SubscriptionID] {
			if r.lease == 0 && !r.DueAt.After(now) && (!w.Ordered || first[r.EmployeeID] == r.Position) {
				due = append(due, r)
			}
		}
		slices.SortFunc(due, func(a, b *fakeRow) int {
			return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.Position, b.Position))
		})
		if len(due) >= w.Room {
			due = due[:w.Room]
			more = append(more, w.SubscriptionID)
		}
		for _, r := range due {
			r.lease = token
			l := r.Leased
			l.Token = token
			claimed = append(claimed, l)
		}
	}
	return claimed, more, nil
}

func (s *fakeStore) Finish(_ context.Context, batch []delivery.Finished) (held []bool, woken []string, err error) {
	end, err := s.begin("finish")
	if err != nil {
		return nil, nil, err
	}
	defer end()
	if slices.ContainsFunc(batch, func(f delivery.Finished) bool { return f.ID == s.refuse }) {
		return nil, nil, delivery.ErrRefused
	}
	s.finishes++
	for _, f := range batch {
		r := s.rows[f.SubscriptionID][f.ID]
		ok := r != nil && r.lease == f.Token && f.Token != 0
		held = append(held, ok)
		if !ok {
			continue
		}
		s.attempts[f.ID] = append(s.attempts[f.ID], f.Attempt)
		if f.Status == delivery.Pending {
			r.lease, r.Attempts, r.Base, r.DueAt = 0, f.Attempt.Number, f.Base, time.Now().Add(f.Wait)
			continue
		}
		delete(s.rows[f.SubscriptionID], f.ID)
		s.history[f.ID] = f
		if s.lines[f.SubscriptionID+f.EmployeeID]--; s.lines[f.SubscriptionID+f.EmployeeID] > 0 {
			woken = append(woken, f.SubscriptionID)
		}
	}
	return held, woken, nil
}

func (s *fakeStore) Release(_ context.Context, batch []delivery.Released) error {
	end, err := s.begin("release")
	if err != nil {
		return err
	}
	defer end()
	for _, rel := range batch {
		for _, rows := range s.rows {
			if r := rows[rel.ID]; r != nil && r.lease == rel.Token {
				r.lease, r.DueAt = 0, time.Now().Add(rel.Wait)
			}
		}
	}
	return nil
}

func (s *fakeStore) Erasures(_ context.Context, after int64) (list []delivery.Erasure, err error) {
	end, err := s.begin("erasures")
	if err != nil {
		return nil, err
	}
	defer end()
	for _, e := range s.erasures {
		if e.Number > after {
			list = append(list, e)
		}
	}
	return list, nil
}

// erase cancels what is pending of an employee up to a position, and says so.
func (s *fakeStore) erase(employee string, position int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rows := range s.rows {
		maps.DeleteFunc(rows, func(_ string, r *fakeRow) bool { return r.EmployeeID == employee && r.Position <= position })
	}
	s.erasures = append(s.erasures, delivery.Erasure{Number: int64(len(s.erasures)) + 1, EmployeeID: employee, Position: position})
}

// status counts the rows by where they stand.
func (s *fakeStore) status() (pending, delivered, dead int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.history {
		if f.Status == delivery.Delivered {
			delivered++
		} else {
			dead++
		}
	}
	for _, rows := range s.rows {
		pending += len(rows)
	}
	return pending, delivered, dead
}

// fakeSnapshots is the subscriptions of a test.
type fakeSnapshots struct {
	mu      sync.Mutex
	current *subscription.Snapshot
	changed chan struct{}
}

func (f *fakeSnapshots) Current() *subscription.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

func (f *fakeSnapshots) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fakeSnapshots) Reload(context.Context) (*subscription.Snapshot, error) {
	return f.Current(), nil
}

// change puts another view of one subscription in force; nil deletes it.
func (f *fakeSnapshots) change(id string, change func(*subscription.Target) *subscription.Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := &subscription.Snapshot{Epoch: f.current.Epoch + 1, Targets: map[string]*subscription.Target{}}
	maps.Copy(next.Targets, f.current.Targets)
	t := *next.Targets[id]
	t.Revision++
	if n := change(&t); n != nil {
		next.Targets[id] = n
	} else {
		delete(next.Targets, id)
	}
	f.current = next
	close(f.changed)
	f.changed = make(chan struct{})
}

// rig is a dispatcher in a bubble of time, with all that it talks to.
type rig struct {
	*testing.T
	*delivery.Dispatcher
	store     *fakeStore
	snapshots *fakeSnapshots
	results   []delivery.Result // locked by store.mu
	gone      chan string
	position  int64
	stop      func()
}

// start runs the dispatcher for subscriptions "a", "b" … as change makes them.
func start(t *testing.T, conf delivery.Config, send func(ctx context.Context, r delivery.Request) delivery.Attempt, targets ...*subscription.Target) *rig {
	t.Helper()
	return startOn(t, newFakeStore(), conf, send, targets...)
}

func startOn(t *testing.T, store *fakeStore, conf delivery.Config, send func(ctx context.Context, r delivery.Request) delivery.Attempt, targets ...*subscription.Target) *rig {
	t.Helper()
	snapshot := &subscription.Snapshot{Epoch: 1, Targets: map[string]*subscription.Target{}}
	for _, s := range targets {
		snapshot.Targets[s.ID] = s
	}
	r := &rig{T: t, store: store, snapshots: &fakeSnapshots{current: snapshot, changed: make(chan struct{})}, gone: make(chan string, 10)}
	conf.Replica = "test"
	r.Dispatcher = delivery.New(conf, r.store, senderFunc(send), r.snapshots, r, slog.New(slog.DiscardHandler), r)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Dispatcher.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	r.stop = func() { cancel(); running.Wait() }
	t.Cleanup(r.stop)
	synctest.Wait()
	return r
}

func (r *rig) Observe(results []delivery.Result) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	r.results = append(r.results, results...)
}

func (r *rig) Gone(_ context.Context, id, url string) error {
	r.gone <- id + " " + url
	return nil
}

// publish is what ingest does: n first tries for a subscription, leased as far as there is room.
func (r *rig) publish(s *subscription.Target, employees ...string) {
	r.Helper()
	places := []delivery.Places{{Target: s, Wanted: len(employees)}}
	token := r.Reserve(places)
	var leased []delivery.Leased
	var waiting []delivery.Waiting
	now := time.Now()
	r.store.mu.Lock()
	for i, employee := range employees {
		r.position++
		e := &event.Event{ID: fmt.Sprintf("evt_%06d", r.position), Type: "employee.created", OccurredAt: now, EmployeeID: employee, Version: r.position, Payload: []byte("{}"), Position: r.position}
		l := delivery.Leased{
			Delivery: delivery.Delivery{
				ID: fmt.Sprintf("dlv_%06d", r.position), EventID: e.ID, EventType: e.Type, SubscriptionID: s.ID, EmployeeID: employee,
				Position: r.position, Status: delivery.Pending, DueAt: now, CreatedAt: now,
			},
			Token: token, Event: e,
		}
		row := &fakeRow{Leased: l}
		if i < places[0].Granted {
			row.lease = token
			leased = append(leased, l)
		} else {
			waiting = append(waiting, delivery.Waiting{SubscriptionID: s.ID})
		}
		r.store.add(row)
	}
	r.store.mu.Unlock()
	r.Accept(token, places, leased, waiting, false)
}

// publishMany is publish for n employees.
func (r *rig) publishMany(s *subscription.Target, n int) {
	r.Helper()
	employees := make([]string, n)
	for i := range employees {
		employees[i] = fmt.Sprintf("emp_%d_%d", r.position, i)
	}
	r.publish(s, employees...)
}

// hold stores n deliveries that are due and nobody has been told of.
func (r *rig) hold(s *subscription.Target, n int) {
	for range n {
		r.holdFor(s, fmt.Sprintf("emp_%d", r.position+1))
	}
}

func (r *rig) holdFor(s *subscription.Target, employees ...string) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	for _, employee := range employees {
		r.position++
		e := &event.Event{ID: fmt.Sprintf("evt_%06d", r.position), EmployeeID: employee, Payload: []byte("{}"), Position: r.position}
		id := fmt.Sprintf("dlv_%06d", r.position)
		r.store.add(&fakeRow{Leased: delivery.Leased{
			Delivery: delivery.Delivery{ID: id, EventID: e.ID, SubscriptionID: s.ID, EmployeeID: e.EmployeeID, Position: r.position, DueAt: time.Now(), CreatedAt: time.Now()},
			Event:    e,
		}})
	}
}

func (r *rig) want(pending, delivered, dead int) {
	r.Helper()
	synctest.Wait()
	if p, ok, d := r.store.status(); p != pending || ok != delivered || d != dead {
		r.Errorf("%d pending, %d delivered, %d dead; want %d, %d, %d", p, ok, d, pending, delivered, dead)
	}
}

type senderFunc func(ctx context.Context, r delivery.Request) delivery.Attempt

func (f senderFunc) Send(ctx context.Context, r delivery.Request) delivery.Attempt { return f(ctx, r) }

func answer(code int) delivery.Attempt {
	return delivery.Attempt{StartedAt: time.Now().UTC(), StatusCode: code, Outcome: delivery.OutcomeOf(code)}
}

// hang is a receiver that never answers.
func hang(ctx context.Context) delivery.Attempt {
	a := delivery.Attempt{StartedAt: time.Now().UTC(), Outcome: delivery.OutcomeTimeout}
	sleep(ctx, delivery.SendTimeout)
	return a
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func target(id string) *subscription.Target {
	return &subscription.Target{Subscription: subscription.Subscription{
		ID: id, URL: "https://" + id + ".test/", Status: subscription.Active, Ordering: subscription.ByEmployee, Revision: 1,
	}}
}
