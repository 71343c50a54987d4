package outbox

import (
	"context"
	"errors"
	"time"
)

const (
	// maxAttempts is how often a message may break a notifier that takes others, before it is parked.
	maxAttempts = 5
	// maxBroken is how many single messages may break the notifier in a row, before it is the notifier that is at fault.
	maxBroken = 8
	// maxRemembered is how many messages that broke the notifier are remembered.
	maxRemembered = 1000
	// firstDeferral is how long the first message that breaks the notifier waits; doubled by each attempt.
	firstDeferral = 2 * time.Second
	// warnInterval is how often it is said that events are too early.
	warnInterval = time.Minute
)

// send publishes a batch and sees to what is not taken. The error means that the notifier does not work.
func (r *Relay) send(ctx context.Context, batch []Message) error {
	err := r.publish(ctx, batch)
	if atFault(err) {
		return r.isolate(ctx, batch, err)
	}
	if err != nil {
		r.release(ctx, r.lease, batch)
	}
	return err
}

// atFault says that single messages of a batch may be at fault, not the notifier.
func atFault(err error) bool {
	return errors.Is(err, ErrRefused) || errors.Is(err, ErrBroken) || errors.Is(err, ErrEarly)
}

// publish makes one call. Once ctx ends the call has a moment to finish.
func (r *Relay) publish(ctx context.Context, batch []Message) error {
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.PublishTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		sleep(call, stopTimeout)
		cancel()
	})
	defer stop()
	began := time.Now()
	err := r.cfg.Publisher.Publish(call, batch)
	switch {
	case err == nil:
		r.worked = time.Now()
		r.cfg.Observer.Published(len(batch), time.Since(began))
		r.remover.add(ctx, batch)
	case errors.Is(err, ErrRefused):
		r.worked = time.Now()
		r.cfg.Observer.Failed("refused")
	case errors.Is(err, ErrEarly):
		r.worked = time.Now()
		r.cfg.Observer.Failed("early")
	case errors.Is(err, ErrBroken):
		r.cfg.Observer.Failed("broken")
	default:
		r.cfg.Observer.Failed("unavailable")
	}
	return err
}

// isolation is the search for the messages that spoil a batch.
type isolation struct {
	relay  *Relay
	taken  bool            // the notifier took or refused something, so it works
	err    error           // the last one
	broken []Message       // each broke the notifier by itself
	held   map[string]bool // employees of the broken ones: their later messages must wait
	rest   []Message       // not to be published now
	early  bool            // the rest is too early
}

// isolate finds, by halving, which messages spoil the batch, and publishes the others in their order.
//
// A refused one is parked: repeating it at once does not help, and it holds nothing up. The later events of its employee go on, as they do
// after a delivery that is dead: receivers see the gap by the version and fetch the employee.
//
// One that breaks the notifier is tried again later, and its employee's later events wait for it. After some attempts it is
// parked, too; but they count only where other messages are taken: else it may be the notifier that is broken.
//
// What is too early waits, and with it all that comes after: the clocks of the two services differ.
func (r *Relay) isolate(ctx context.Context, batch []Message, err error) error {
	s := &isolation{relay: r, held: make(map[string]bool)}
	s.divide(ctx, batch, err)
	if s.early {
		r.wait(s.rest)
		return nil
	}
	if len(s.held) > 0 { // what is claimed already may be theirs
		s.rest, r.claimed = append(s.rest, r.claimed...), nil
	}
	r.release(ctx, r.lease, s.rest)
	if !s.taken && len(s.broken) == maxBroken {
		r.release(ctx, r.lease, s.broken)
		return s.err
	}
	works := s.taken
	for _, m := range s.broken {
		works = r.setAside(ctx, m, s.taken) || works
	}
	if !works {
		return s.err
	}
	return nil
}

// setAside deals with a message that broke the notifier. It reports whether the message is at fault: others were taken
// beside it, or since it broke the notifier last.
func (r *Relay) setAside(ctx context.Context, m Message, others bool) bool {
	last, again := r.broke[m.Position]
	fault := others || again && r.worked.After(last)
	if fault {
		m.Attempts++
	}
	if m.Attempts >= maxAttempts {
		delete(r.broke, m.Position)
		r.park(ctx, m, ErrBroken)
		return true
	}
	if len(r.broke) == maxRemembered {
		clear(r.broke)
	}
	r.broke[m.Position] = time.Now()
	r.deferMessage(ctx, m)
	return fault
}

// try publishes the messages that are not held back, or finds out what is wrong with them.
// It reports whether to go on.
func (s *isolation) try(ctx context.Context, batch []Message) bool {
	var free []Message
	for _, m := range batch {
		if s.held[m.EmployeeID] {
			s.rest = append(s.rest, m)
		} else {
			free = append(free, m)
		}
	}
	if len(free) == 0 {
		return true
	}
	err := s.relay.publish(ctx, free)
	if err == nil {
		s.taken = true
		return true
	}
	return s.divide(ctx, free, err)
}

// divide deals with a batch that failed with err. It reports whether to go on.
func (s *isolation) divide(ctx context.Context, batch []Message, err error) bool {
	s.err = err
	switch {
	case !atFault(err):
		s.rest = append(s.rest, batch...)
		s.taken = false // whatever it took before, it is gone now
		return false
	case len(batch) > 1:
		half := len(batch) / 2
		if !s.try(ctx, batch[:half]) {
			s.rest = append(s.rest, batch[half:]...)
			return false
		}
		return s.try(ctx, batch[half:])
	case errors.Is(err, ErrRefused):
		s.taken = true
		s.relay.park(ctx, batch[0], err)
		return true
	case errors.Is(err, ErrEarly):
		s.rest = append(s.rest, batch[0])
		s.taken, s.early = true, true
		return false
	}
	s.broken = append(s.broken, batch[0])
	s.held[batch[0].EmployeeID] = true
	return s.taken || len(s.broken) < maxBroken
}

// wait leaves what is too early, and all that was claimed with it, until their leases end.
func (r *Relay) wait(early []Message) {
	if time.Since(r.warned) > warnInterval {
		r.warned = time.Now()
		r.log.Warn("events are too early for the notifier's clock and wait", "events", len(early), "first", early[0].EventID, "wait", r.cfg.Lease)
	}
	r.claimed = nil
}

func (r *Relay) park(ctx context.Context, m Message, reason error) {
	r.log.Error("event parked: the notifier does not take it", "event_id", m.EventID, "employee_id", m.EmployeeID, "error", reason)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := r.cfg.Store.Park(ctx, r.lease, m.Position, reason.Error()); err != nil {
		r.log.Warn("event cannot be parked and will be tried again", "event_id", m.EventID, "error", err)
	}
}

func (r *Relay) deferMessage(ctx context.Context, m Message) {
	wait := firstDeferral << max(m.Attempts-1, 0)
	r.log.Warn("event broke the notifier and waits", "event_id", m.EventID, "employee_id", m.EmployeeID, "attempts", m.Attempts, "wait", wait)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := r.cfg.Store.Defer(ctx, r.lease, m.Position, m.Attempts, time.Now().Add(wait)); err != nil {
		r.log.Warn("event cannot be deferred and waits for its lease to end", "event_id", m.EventID, "error", err)
	}
}
