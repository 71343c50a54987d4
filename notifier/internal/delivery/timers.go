package delivery

import (
	"container/heap"
	"context"
	"time"
)

// timers are the lanes that are to be looked at again, by when.
type timers []*lane

// Len, Less, Swap, Push and Pop are for container/heap.
func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].wakeAt.Before(t[j].wakeAt) }

func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].timer, t[j].timer = i+1, j+1
}

func (t *timers) Push(v any) {
	l := v.(*lane) // heap gives on what it got
	*t = append(*t, l)
	l.timer = len(*t)
}

func (t *timers) Pop() any {
	n := len(*t) - 1
	l := (*t)[n]
	(*t)[n] = nil
	*t = (*t)[:n]
	l.timer = 0
	return l
}

// arm has the lane looked at then, if not before. The lock is held.
func (d *Dispatcher) arm(l *lane, at time.Time) {
	switch {
	case l.timer == 0:
		l.wakeAt = at
		heap.Push(&d.timers, l)
	case at.Before(l.wakeAt):
		l.wakeAt = at
		heap.Fix(&d.timers, l.timer-1)
	default:
		return
	}
	if d.timers[0] == l {
		poke(d.timerSoon)
	}
}

// dueAt has the lane claim then. The lock is held.
func (d *Dispatcher) dueAt(l *lane, at time.Time) {
	l.due(at)
	d.arm(l, l.dueTimes[0])
}

func (d *Dispatcher) runTimers(ctx context.Context) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		t.Reset(d.fire(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-d.timerSoon:
		case <-t.C:
		}
	}
}

// fire looks at the lanes whose time has come, and says how long it is until the next.
func (d *Dispatcher) fire(now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.timers) > 0 && !d.timers[0].wakeAt.After(now) {
		l := heap.Pop(&d.timers).(*lane) // that is all there is in it
		if l.passed(now) {
			l.claim = true
		}
		if l.claim {
			poke(d.claimSoon)
		}
		if len(l.dueTimes) > 0 {
			d.arm(l, l.dueTimes[0])
		}
		d.makeReady(l)
	}
	d.assign(now)
	if len(d.timers) == 0 {
		return time.Hour
	}
	return max(d.timers[0].wakeAt.Sub(now), 0)
}
