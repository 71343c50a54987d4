package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/employee-svc/internal/outbox"
	"hirewire.dev/platform/groupcommit"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
)

// ambiguousTries is how often a batch whose commit was lost is looked up.
const ambiguousTries = 3

// Create stores one employee, with its event, or finds the one that the same request made before. It returns after the
// commit, which other calls may share.
//
// Errors: ErrNumberTaken, ErrEmailTaken, ErrRequestReused, groupcommit.ErrBusy.
func (s *Store) Create(ctx context.Context, caller employee.Caller, create employee.Create) (employee.Result, error) {
	it, err := s.item(caller, create)
	if err != nil {
		return employee.Result{}, err
	}
	outcomes, err := s.singles.Do(ctx, job{items: []item{it}})
	if err != nil {
		return employee.Result{}, err
	}
	return outcomes[0].result, outcomes[0].err
}

// CreateAll stores all of the employees or none. The error names the first create that cannot be stored by an ItemError.
func (s *Store) CreateAll(ctx context.Context, caller employee.Caller, creates []employee.Create) ([]employee.Result, error) {
	results, errs, err := s.createMany(ctx, caller, creates, true)
	if err != nil {
		return nil, err
	}
	return results, errs[0]
}

// CreateEach stores what it can of the employees: the errors are those of each. It is one call for the sake of speed.
func (s *Store) CreateEach(ctx context.Context, caller employee.Caller, creates []employee.Create) ([]employee.Result, []error, error) {
	return s.createMany(ctx, caller, creates, false)
}

func (s *Store) createMany(ctx context.Context, caller employee.Caller, creates []employee.Create, atomic bool) ([]employee.Result, []error, error) {
	j := job{items: make([]item, len(creates)), atomic: atomic}
	for i, create := range creates {
		var err error
		if j.items[i], err = s.item(caller, create); err != nil {
			return nil, nil, err
		}
	}
	outcomes, err := s.batches.Do(ctx, j)
	if err != nil {
		return nil, nil, err
	}
	results, errs := make([]employee.Result, len(outcomes)), make([]error, len(outcomes))
	for i, o := range outcomes {
		results[i], errs[i] = o.result, o.err
	}
	return results, errs, nil
}

// item makes all that a create needs, the event included, outside of the transaction.
func (s *Store) item(caller employee.Caller, create employee.Create) (item, error) {
	it := item{
		employee:  create.Employee.Hired(id.New("emp"), time.Now()),
		emailKey:  employee.EmailKey(create.Employee.Email),
		eventID:   id.New("evt"),
		tenant:    caller.Name,
		requestID: create.RequestID,
	}
	if it.requestID != "" {
		it.sum = create.Employee.Sum()
	}
	var err error
	it.body, err = s.encode(employee.Event{
		ID: it.eventID, Type: employee.Created, At: it.employee.UpdatedAt, Employee: it.employee, Traceparent: caller.Traceparent,
	})
	if err != nil {
		return item{}, fmt.Errorf("encode event: %w", err)
	}
	return it, nil
}

// commit stores a batch in one transaction.
func (s *Store) commit(ctx context.Context, jobs []job) []groupcommit.Result[[]outcome] {
	limited, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	count := 0
	for i := range jobs {
		count += len(jobs[i].items)
	}
	slot := s.handoff.Reserve(count)
	stored, outcomes, err := s.store(limited, jobs, count, slot)
	// Where the reply to a COMMIT is lost, the same batch asks again: it waits at the feed until the lost transaction has
	// ended, and then finds what that one stored, or stores it.
	for try := 1; try < ambiguousTries && errors.Is(err, sqldb.ErrAmbiguous); try++ {
		lost := stored
		if stored, outcomes, err = s.store(limited, jobs, count, slot); err == nil && found(outcomes) {
			stored = lost
		}
	}
	results := make([]groupcommit.Result[[]outcome], len(jobs))
	if err != nil {
		s.handoff.Cancel(slot)
		err = late(ctx, fmt.Errorf("store employees: %w", err))
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	s.handoff.Deliver(slot, stored, slot.Lease == 0 && len(stored) > 0)
	for i := range results {
		results[i].Out = outcomes[i]
	}
	return results
}

// found reports that the batch was stored by a commit whose reply was lost.
func found(outcomes [][]outcome) bool {
	for _, of := range outcomes {
		for i := range of {
			if of[i].found {
				return true
			}
		}
	}
	return false
}

// store is one transaction. It returns what is to be handed over to the relay.
func (s *Store) store(ctx context.Context, jobs []job, count int, slot outbox.Slot) (stored []outbox.Message, outcomes [][]outcome, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		last, err := s.takePositions(ctx, tx, count)
		if err != nil {
			return err
		}
		known, err := s.findKnown(ctx, tx, jobs)
		if err != nil {
			return fmt.Errorf("find known keys: %w", err)
		}
		var accepted []*item
		accepted, outcomes = plan(jobs, known)
		stored = make([]outbox.Message, len(accepted))
		if len(accepted) == 0 {
			return nil
		}
		first := last - int64(count) + 1
		for i, it := range accepted {
			stored[i] = outbox.Message{Position: first + int64(i), EventID: it.eventID, EmployeeID: it.employee.ID, Body: it.body}
		}
		return s.writer.insert(ctx, tx, first, accepted, slot)
	})
	return stored, outcomes, err
}

// takePositions moves the feed on by n and returns its position. It holds the lock on the feed until the transaction ends.
func (s *Store) takePositions(ctx context.Context, tx *sqldb.Tx, n int) (int64, error) {
	var last int64
	if err := queryRow(ctx, tx, s.stmts.takePositions, n).Scan(&last); err != nil {
		return 0, fmt.Errorf("take positions: %w", err)
	}
	return last, nil
}

// writer inserts new employees with their events and request ids. slot.Lease 0 leaves the events free.
type writer interface {
	insert(ctx context.Context, tx *sqldb.Tx, first int64, items []*item, slot outbox.Slot) error
	close() error
}
