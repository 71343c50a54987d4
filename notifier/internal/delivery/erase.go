package delivery

import (
	"context"
	"time"
)

// erasures are those that the dispatcher has learned of lately. Its lock guards them.
type erasures struct {
	last   int64 // the number of the last one
	recent map[string]erasure
}

type erasure struct {
	position int64
	learned  time.Time
}

// erasureKept outlasts every call that brings deliveries: one that was stored before the erasure may come after it.
const erasureKept = time.Minute

// has says whether the data of a delivery was erased.
func (e *erasures) has(item *Leased) bool {
	known, ok := e.recent[item.EmployeeID]
	return ok && item.Position <= known.position
}

func (e *erasures) learn(list []Erasure, now time.Time) {
	for employee, known := range e.recent {
		if now.Sub(known.learned) > erasureKept {
			delete(e.recent, employee)
		}
	}
	for _, n := range list {
		e.recent[n.EmployeeID] = erasure{max(n.Position, e.recent[n.EmployeeID].position), now}
		e.last = max(e.last, n.Number)
	}
}

// DropErased gives back what is queued of employees whose data was erased before the call. When it returns, no attempt of
// theirs begins here; one that is under way goes on.
func (d *Dispatcher) DropErased(ctx context.Context) error {
	d.mu.Lock()
	last := d.erasures.last
	d.mu.Unlock()
	list, err := d.store.Erasures(ctx, last)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.erasures.learn(list, time.Now())
	if len(list) == 0 {
		return nil
	}
	for _, item := range d.unqueue(d.erasures.has) {
		d.ends.release(Released{ID: item.ID, Token: item.Token})
	}
	return nil
}
