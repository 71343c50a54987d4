package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/employee-svc/internal/outbox"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
)

// Update changes an employee as change says, and stores the event that tells of it, both or neither. A change that changes
// nothing stores nothing. change may run more than once, and no other change of the employee comes between what it is
// given and what it returns; its error is returned as it is.
//
// Errors: ErrNotFound, ErrNumberTaken, ErrEmailTaken.
func (s *Store) Update(ctx context.Context, caller employee.Caller, employeeID string,
	change func(employee.Employee) (employee.Employee, error),
) (employee.Employee, error) {
	limited, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	u := &update{
		store: s, caller: caller, employeeID: employeeID, change: change,
		at: time.Now(), eventID: id.New("evt"), slot: s.handoff.Reserve(1),
	}
	err := u.run(limited)
	if err == nil && u.changed {
		s.handoff.Deliver(u.slot, u.leased, len(u.leased) == 0)
	} else {
		s.handoff.Cancel(u.slot)
	}
	if err != nil {
		return employee.Employee{}, late(ctx, err)
	}
	return u.after, nil
}

// update is one call of Update. What it makes up is made before the first try.
type update struct {
	store      *Store
	caller     employee.Caller
	employeeID string
	change     func(employee.Employee) (employee.Employee, error)
	at         time.Time
	eventID    string
	slot       outbox.Slot

	before, after employee.Employee
	changed       bool
	leased        []outbox.Message // stored with the slot's lease
}

func (u *update) run(ctx context.Context) error {
	err := u.store.db.InTx(ctx, func(tx *sqldb.Tx) error { return u.try(ctx, tx) })
	if !errors.Is(err, sqldb.ErrAmbiguous) || !u.changed {
		return err
	}
	// The reply to COMMIT was lost. Read back under the lock, which waits for that transaction to end.
	intended, leased := u.after, u.leased
	err = u.store.db.InTx(ctx, func(tx *sqldb.Tx) error {
		now, err := u.lock(ctx, tx)
		switch {
		case err != nil:
			return err
		case now == intended:
			u.after, u.leased, u.changed = intended, leased, true
			return nil
		case now == u.before:
			return u.try(ctx, tx)
		}
		return fmt.Errorf("update employee: %w, and the employee was changed again since", sqldb.ErrAmbiguous)
	})
	return err
}

func (u *update) try(ctx context.Context, tx *sqldb.Tx) error {
	u.changed, u.leased = false, nil
	var err error
	if u.before, err = u.lock(ctx, tx); err != nil {
		return err
	}
	next, err := u.change(u.before)
	if err != nil {
		return err
	}
	var what employee.EventType
	if u.after, what, u.changed = employee.Change(u.before, next, u.at); !u.changed {
		return nil
	}
	body, err := u.store.encode(employee.Event{
		ID: u.eventID, Type: what, At: u.after.UpdatedAt, Employee: u.after, Traceparent: u.caller.Traceparent,
	})
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	if tx.Engine == sqldb.PostgreSQL && u.keysStay() {
		return u.writeAtOnce(ctx, tx, body)
	}
	position, err := u.store.takePositions(ctx, tx, 1)
	if err != nil {
		return err
	}
	if err := u.checkKeys(ctx, tx); err != nil {
		return err
	}
	return u.write(ctx, tx, position, body)
}

func (u *update) lock(ctx context.Context, tx *sqldb.Tx) (employee.Employee, error) {
	e, err := scanEmployee(queryRow(ctx, tx, u.store.stmts.getLocked, u.employeeID))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return e, employee.ErrNotFound
	case err != nil:
		return e, fmt.Errorf("lock employee: %w", err)
	}
	return e, nil
}

// keysStay reports that neither what is unique changes.
func (u *update) keysStay() bool {
	return u.after.Number == u.before.Number && employee.EmailKey(u.after.Email) == employee.EmailKey(u.before.Email)
}

// checkKeys looks for others with the new number or email. Nobody can take them between this and the commit: who writes
// employees holds the feed.
func (u *update) checkKeys(ctx context.Context, tx *sqldb.Tx) error {
	if u.keysStay() {
		return nil
	}
	key := employee.EmailKey(u.after.Email)
	known, err := u.store.findKnown(ctx, tx, []job{{items: []item{{employee: u.after, emailKey: key}}}})
	if err != nil {
		return fmt.Errorf("find known keys: %w", err)
	}
	if holder, ok := known.numbers[u.after.Number]; ok && holder != u.after.ID {
		return employee.ErrNumberTaken
	}
	if holder, ok := known.emails[key]; ok && holder != u.after.ID {
		return employee.ErrEmailTaken
	}
	return nil
}

// row are the values of sqlSetEmployee, with room for more.
func (u *update) row() []any {
	e := &u.after
	return append(make([]any, 0, 18), e.ID, e.Number, e.GivenName, e.FamilyName, e.Email, employee.EmailKey(e.Email), e.JobTitle,
		e.Department, e.HireDate, e.Country, e.Currency, e.Status, e.Version, e.UpdatedAt)
}

func (u *update) write(ctx context.Context, tx *sqldb.Tx, position int64, body []byte) error {
	if err := exec(ctx, tx, u.store.stmts.update, append(u.row(), position)...); err != nil {
		return fmt.Errorf("update employee: %w", err)
	}
	var lease int64
	err := queryRow(ctx, tx, u.store.stmts.enqueue, u.after.ID, position, u.eventID, body, u.after.UpdatedAt, u.slot.Lease, u.slot.Until).
		Scan(&lease)
	if err != nil {
		return fmt.Errorf("insert event: %w", err)
	}
	u.keep(position, lease, body)
	return nil
}

func (u *update) writeAtOnce(ctx context.Context, tx *sqldb.Tx, body []byte) error {
	var position, lease int64
	args := append(u.row(), u.eventID, body, u.slot.Lease, u.slot.Until)
	if err := queryRow(ctx, tx, u.store.stmts.updateAtOnce, args...).Scan(&position, &lease); err != nil {
		return fmt.Errorf("update employee: %w", err)
	}
	u.keep(position, lease, body)
	return nil
}

// keep keeps the event for the relay, if it was stored with the slot's lease.
func (u *update) keep(position, lease int64, body []byte) {
	if lease != 0 {
		u.leased = []outbox.Message{{Position: position, EventID: u.eventID, EmployeeID: u.after.ID, Body: body}}
	}
}
