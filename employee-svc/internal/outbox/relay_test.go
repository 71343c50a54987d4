package outbox_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/employee-svc/internal/outbox"
)

// row is a message in memory.
type row struct {
	outbox.Message
	lease    int64
	due      time.Time
	parked   string
	parkedAt time.Time
}

// memory is a Store without a database.
type memory struct {
	mu       sync.Mutex
	rows     []row // by position
	last     int64
	claims   int
	renewals int
	down     bool
}

var errDown = errors.New("database down")

func (m *memory) Claim(_ context.Context, lease int64, until time.Time, limit int) (claimed []outbox.Message, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return nil, errDown
	}
	m.claims++
	held := map[string]bool{}
	for i := range m.rows {
		r := &m.rows[i]
		if r.parked != "" && time.Since(r.parkedAt) < outbox.ParkedFor {
			continue
		}
		if r.due.After(time.Now()) {
			held[r.EmployeeID] = true
			continue
		}
		if !held[r.EmployeeID] && len(claimed) < limit {
			r.lease, r.due = lease, until
			claimed = append(claimed, r.Message)
		}
	}
	return claimed, nil
}

// each changes the rows that the lease holds.
func (m *memory) each(lease int64, positions []int64, change func(*row)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return errDown
	}
	for i := range m.rows {
		if m.rows[i].lease == lease && slices.Contains(positions, m.rows[i].Position) {
			change(&m.rows[i])
		}
	}
	return nil
}

func (m *memory) Renew(_ context.Context, lease int64, until time.Time, positions []int64) (kept []int64, err error) {
	err = m.each(lease, positions, func(r *row) { r.due = until; kept = append(kept, r.Position); m.renewals++ })
	return kept, err
}

func (m *memory) Release(_ context.Context, lease int64, positions []int64) error {
	return m.each(lease, positions, func(r *row) { r.lease, r.due = 0, time.Now() })
}

func (m *memory) Defer(_ context.Context, lease, position int64, attempts int, due time.Time) error {
	return m.each(lease, []int64{position}, func(r *row) { r.lease, r.due, r.Attempts = 0, due, attempts })
}

func (m *memory) Park(_ context.Context, lease, position int64, reason string) error {
	return m.each(lease, []int64{position}, func(r *row) { r.lease, r.parked, r.parkedAt = 0, reason, time.Now() })
}

func (m *memory) Remove(_ context.Context, positions []int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return errDown
	}
	m.rows = slices.DeleteFunc(m.rows, func(r row) bool { return slices.Contains(positions, r.Position) })
	return nil
}

func (m *memory) Depth(context.Context) (outbox.Depth, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return outbox.Depth{Waiting: len(m.rows)}, nil
}

func (m *memory) left() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.rows)
}

// commit stores messages as a service does, through the handoff. What is before a slash is the employee.
func (m *memory) commit(h *outbox.Handoff, employees ...string) {
	slot := h.Reserve(len(employees))
	m.mu.Lock()
	var messages []outbox.Message
	for _, e := range employees {
		m.last++
		employee, _, _ := strings.Cut(e, "/")
		msg := outbox.Message{Position: m.last, EmployeeID: employee, EventID: e, Body: []byte(e)}
		m.rows = append(m.rows, row{Message: msg, lease: slot.Lease, due: slot.Until})
		messages = append(messages, msg)
	}
	m.mu.Unlock()
	h.Deliver(slot, messages, slot.Lease == 0)
}

// recorder is a Publisher that answers as told and remembers when and what.
type recorder struct {
	mu     sync.Mutex
	answer func(batch []outbox.Message) error
	took   time.Duration
	calls  []time.Time
	taken  []string
	sizes  []int
}

func (p *recorder) Publish(ctx context.Context, batch []outbox.Message) error {
	p.mu.Lock()
	answer, took := p.answer, p.took
	p.calls = append(p.calls, time.Now())
	p.mu.Unlock()
	if took > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(took):
		}
	}
	if answer != nil {
		if err := answer(batch); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sizes = append(p.sizes, len(batch))
	for _, m := range batch {
		p.taken = append(p.taken, m.EventID)
	}
	return nil
}

func (p *recorder) set(answer func([]outbox.Message) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

type silent struct{}

func (silent) Published(int, time.Duration) {}
func (silent) Failed(string)                {}
func (silent) Depth(outbox.Depth)           {}

// run runs a relay in a bubble until stop.
func run(t *testing.T, m *memory, p *recorder, h *outbox.Handoff, change ...func(*outbox.Config)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	conf := outbox.Config{
		Store: m, Publisher: p, Handoff: h, Observer: silent{}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, f := range change {
		f(&conf)
	}
	relay := outbox.New(conf)
	go func() { done <- relay.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// settle lets time pass, and what happens then.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestPublishesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, h := &memory{}, &recorder{}, outbox.NewHandoff(100)
		stop := run(t, m, p, h)
		defer stop()
		began := time.Now()
		m.commit(h, "a")
		synctest.Wait()
		if diff := cmp.Diff([]string{"a"}, p.taken); diff != "" || time.Since(began) != 0 {
			t.Errorf("after %v: %s", time.Since(began), diff)
		}
		settle(time.Second)
		if m.left() != 0 {
			t.Error("the published event is still stored")
		}
	})
}

func TestGathersWhileACallIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, h := &memory{}, &recorder{took: 50 * time.Millisecond}, outbox.NewHandoff(100)
		stop := run(t, m, p, h)
		defer stop()
		for _, e := range []string{"a", "b", "c", "d"} {
			m.commit(h, e)
			settle(10 * time.Millisecond)
		}
		settle(time.Second)
		if diff := cmp.Diff([]int{1, 3}, p.sizes); diff != "" {
			t.Error(diff)
		}
	})
}

// While the notifier is away the relay tries forever, but at a bounded rate; when it is back everything goes out soon.
func TestNotifierAwayForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, h := &memory{}, &recorder{}, outbox.NewHandoff(100)
		stop := run(t, m, p, h)
		defer stop()
		p.set(func([]outbox.Message) error { return errors.New("connection refused") })
		for i := range 4 * 60 {
			m.commit(h, string(rune('a'+i%26)), "x")
			settle(time.Minute)
		}
		if n := len(p.calls); n < 4*3600/3 || n > 4*3600 {
			t.Errorf("%d calls in four hours", n)
		}
		p.set(nil)
		began := time.Now()
		for m.left() > 0 {
			settle(10 * time.Millisecond)
			if time.Since(began) > 10*time.Second {
				t.Fatalf("%d are left after %v", m.left(), time.Since(began))
			}
		}
		if len(p.taken) != 2*4*60 {
			t.Errorf("%d events", len(p.taken))
		}
	})
}

// A call that takes longer than the lease leaves time for: leases are renewed, so that no other relay repeats the work.
func TestRenewsWhenSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, h := &memory{}, &recorder{took: 7 * time.Second}, outbox.NewHandoff(100)
		stop := run(t, m, p, h)
		defer stop()
		m.commit(h, "a")
		synctest.Wait()
		m.commit(h, "b")
		settle(time.Minute)
		if diff := cmp.Diff([]string{"a", "b"}, p.taken); diff != "" {
			t.Error(diff)
		}
		if m.renewals == 0 {
			t.Error("the lease was not renewed")
		}
		if len(p.calls) != 2 {
			t.Errorf("%d calls", len(p.calls))
		}
	})
}

// What another relay took over is not published again from memory.
func TestDropsWhatItLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, h := &memory{}, &recorder{took: 7 * time.Second}, outbox.NewHandoff(100)
		stop := run(t, m, p, h)
		defer stop()
		m.commit(h, "a")
		synctest.Wait()
		m.commit(h, "b")
		m.mu.Lock()
		m.rows[1].lease, m.rows[1].due = 99, time.Now().Add(time.Hour)
		m.mu.Unlock()
		settle(time.Minute)
		if diff := cmp.Diff([]string{"a"}, p.taken); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDatabaseAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, h := &memory{}, &recorder{}, outbox.NewHandoff(100)
		stop := run(t, m, p, h)
		defer stop()
		m.commit(h, "a")
		m.mu.Lock()
		m.down = true
		m.mu.Unlock()
		settle(5 * time.Minute)
		if m.left() != 1 || len(p.taken) != 1 {
			t.Fatalf("%d left, %d published", m.left(), len(p.taken))
		}
		m.mu.Lock()
		m.down = false
		m.mu.Unlock()
		settle(10 * time.Second)
		if m.left() != 0 || len(p.taken) != 1 {
			t.Errorf("%d left, published %v", m.left(), p.taken)
		}
	})
}

// A message that breaks a notifier which takes others is parked in the end; one that breaks it alone is tried for ever.
func TestBrokenMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, h := &memory{}, &recorder{}, outbox.NewHandoff(100)
		p.set(func(batch []outbox.Message) error {
			if slices.ContainsFunc(batch, func(m outbox.Message) bool { return m.EventID == "bad" }) {
				return outbox.ErrBroken
			}
			return nil
		})
		stop := run(t, m, p, h)
		defer stop()
		m.commit(h, "bad")
		settle(time.Hour)
		if m.left() != 1 || m.rows[0].parked != "" {
			t.Fatalf("%d left, parked %q", m.left(), m.rows[0].parked)
		}
		for range 600 {
			m.commit(h, "good", "bad", "good")
			settle(time.Second)
		}
		settle(time.Minute)
		good := 0
		for _, id := range p.taken {
			if id == "good" {
				good++
			}
		}
		if good != 1200 {
			t.Errorf("%d of 1200 others were published", good)
		}
		if m.rows[0].parked == "" {
			t.Error("it was never parked")
		}
	})
}

// What is refused is tried again later: the reason may have been the notifier's.
func TestRefusedMessageIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, h := &memory{}, &recorder{}, outbox.NewHandoff(100)
		p.set(refusing("bad", outbox.ErrRefused))
		stop := run(t, m, p, h)
		defer stop()
		m.commit(h, "bad/1", "bad/2", "good/1")
		settle(time.Minute)
		if m.left() != 2 || m.rows[0].parked == "" {
			t.Fatalf("%d left, parked %q", m.left(), m.rows[0].parked)
		}
		p.set(nil)
		settle(outbox.ParkedFor)
		if diff := cmp.Diff([]string{"good/1", "bad/1", "bad/2"}, p.taken); diff != "" {
			t.Error(diff)
		}
	})
}

// When the clocks differ, what is too early waits, in order; nothing is parked and nothing before it is held up.
func TestTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, h := &memory{}, &recorder{}, outbox.NewHandoff(100)
		p.set(refusing("early", outbox.ErrEarly))
		stop := run(t, m, p, h)
		defer stop()
		m.commit(h, "a/1", "b/1", "early/1", "early/2", "c/1")
		settle(10 * time.Minute)
		if diff := cmp.Diff([]string{"a/1", "b/1"}, p.taken); diff != "" {
			t.Error(diff)
		}
		m.commit(h, "early/3", "d/1")
		settle(time.Minute)
		if n := len(p.calls); n > 11*4*8 {
			t.Errorf("%d calls in eleven minutes", n)
		}
		p.set(nil)
		settle(20 * time.Second)
		if m.left() != 0 {
			t.Errorf("%d left", m.left())
		}
		var early []string
		for _, id := range p.taken {
			if strings.HasPrefix(id, "early") {
				early = append(early, id)
			}
		}
		if diff := cmp.Diff([]string{"early/1", "early/2", "early/3"}, early); diff != "" {
			t.Error(diff)
		}
	})
}

// A message that waits because it broke the notifier is not overtaken by a later one that was claimed with it.
func TestBrokenMessageIsNotOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, h := &memory{}, &recorder{}, outbox.NewHandoff(100)
		broken := 0
		p.set(func(batch []outbox.Message) error {
			if broken < 8 && slices.ContainsFunc(batch, func(m outbox.Message) bool { return m.EventID == "bad/1" }) {
				broken++
				return outbox.ErrBroken
			}
			return nil
		})
		m.commit(h, "good/1", "bad/1", "bad/2", "bad/3") // before a relay runs, so that they are claimed
		stop := run(t, m, p, h, func(c *outbox.Config) { c.BatchBytes = 1 })
		defer stop()
		for range 60 {
			m.commit(h, "good/2")
			settle(time.Second)
		}
		bad := slices.DeleteFunc(p.taken, func(id string) bool { return strings.HasPrefix(id, "good") })
		if diff := cmp.Diff([]string{"bad/1", "bad/2", "bad/3"}, bad); diff != "" {
			t.Error(diff)
		}
	})
}

// refusing fails batches with a message of the employee.
func refusing(employee string, err error) func([]outbox.Message) error {
	return func(batch []outbox.Message) error {
		if slices.ContainsFunc(batch, func(m outbox.Message) bool { return m.EmployeeID == employee }) {
			return err
		}
		return nil
	}
}

// A notifier that breaks on everything loses nothing to the park.
func TestBrokenNotifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, h := &memory{}, &recorder{}, outbox.NewHandoff(2000)
		p.set(func([]outbox.Message) error { return outbox.ErrBroken })
		stop := run(t, m, p, h)
		defer stop()
		for i := range 1000 {
			m.commit(h, string(rune('a'+i%26)))
		}
		settle(10 * time.Minute)
		if n := len(p.calls); n > 60*20*20 {
			t.Errorf("%d calls in ten minutes", n)
		}
		p.set(nil)
		settle(time.Minute)
		if m.left() != 0 || len(p.taken) != 1000 {
			t.Errorf("%d left, %d published", m.left(), len(p.taken))
		}
	})
}

func TestStopLetsACallFinish(t *testing.T) {
	for _, tt := range []struct {
		name  string
		took  time.Duration
		left  int
		limit time.Duration
	}{
		{"that is nearly done", time.Second, 2, 1100 * time.Millisecond},
		{"but not for long", time.Minute, 3, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p, h := &memory{}, &recorder{took: tt.took}, outbox.NewHandoff(100)
				stop := run(t, m, p, h)
				m.commit(h, "a")
				synctest.Wait()
				m.commit(h, "b", "c")
				began := time.Now()
				stop()
				if took := time.Since(began); took > tt.limit {
					t.Errorf("stopped after %v", took)
				}
				if m.left() != tt.left {
					t.Errorf("%d left, want %d", m.left(), tt.left)
				}
				for _, r := range m.rows {
					if r.lease != 0 || r.due.After(time.Now()) {
						t.Errorf("%s is still leased", r.EventID)
					}
				}
			})
		})
	}
}

// Batches stay below the size of a message, and a single one that is larger still goes.
func TestBatchBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p, h := &memory{}, &recorder{took: time.Second}, outbox.NewHandoff(1000)
		stop := run(t, m, p, h)
		defer stop()
		m.commit(h, "first")
		synctest.Wait()
		slot := h.Reserve(6)
		var messages []outbox.Message
		for i := range 6 {
			size := 300 << 10
			if i == 5 {
				size = 900 << 10
			}
			msg := outbox.Message{Position: int64(10 + i), EmployeeID: "x", EventID: "x", Body: make([]byte, size)}
			messages = append(messages, msg)
			m.mu.Lock()
			m.rows = append(m.rows, row{Message: msg, lease: slot.Lease, due: slot.Until})
			m.mu.Unlock()
		}
		h.Deliver(slot, messages, false)
		settle(time.Minute)
		if diff := cmp.Diff([]int{1, 2, 2, 1, 1}, p.sizes); diff != "" {
			t.Error(diff)
		}
	})
}
