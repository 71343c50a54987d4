// Package intake makes accounts of what the inbox holds: it asks the source of truth for what events do not say, and applies
// whole batches of events in the transaction that marks them.
package intake

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/bank-svc/internal/event"
	"hirewire.dev/bank-svc/internal/sqlstore"
	"hirewire.dev/webhook"
	"hirewire.dev/webhook/inbox"
)

const (
	// fetchers bounds the calls to the source of truth under way for one batch.
	fetchers = 16
	// fetchTimeout bounds each, so that events that need none do not wait long for those that do.
	fetchTimeout = 3 * time.Second
)

// Source is the source of truth.
type Source interface {
	// Employee reads one employee, as it is now. Errors: account.ErrUnknownEmployee.
	Employee(ctx context.Context, id string) (account.Employee, error)
}

// Store keeps accounts.
type Store interface {
	// Current reads the accounts of employees, by employee, outside any transaction.
	Current(ctx context.Context, employeeIDs []string) (map[string]account.Account, error)
	// Reserve gets ready for up to n new accounts. Apply does without, too.
	Reserve(ctx context.Context, n int) error
	// Apply applies changes in their order, within the transaction. One whose outcome is Fetch was not applied.
	Apply(ctx context.Context, tx *sql.Tx, changes []account.Change) ([]sqlstore.Outcome, error)
}

// Intake is what an inbox calls.
type Intake struct {
	store  Store
	source Source
	count  func(account.Action)
}

// New makes an Intake; count is told of each change that is applied, and may be told twice of one.
func New(store Store, source Source, count func(account.Action)) *Intake {
	return &Intake{store: store, source: source, count: count}
}

// Subject puts the events of an employee in a line. An event that makes no sense is an error.
func Subject(e webhook.Event) (inbox.Subject, error) {
	c, err := event.Parse(e)
	if errors.Is(err, event.ErrOther) {
		return inbox.Subject{}, nil
	}
	if err != nil {
		return inbox.Subject{}, err
	}
	return inbox.Subject{Key: c.EmployeeID, Version: c.Version}, nil
}

// note is what Prepare leaves to Handle.
type note struct {
	change account.Change
	other  bool // of no interest to a bank
}

// Prepare reads the events, and fetches the employees that they do not tell enough of: before the transaction, so that
// nothing waits for the network while it holds a lock.
func (i *Intake) Prepare(ctx context.Context, events []*inbox.Event) {
	notes := make([]*note, len(events))
	var ask []string // employees whose accounts decide whether to fetch
	fresh := 0       // employees who are probably new
	for at, e := range events {
		c, err := event.Parse(e.Event)
		switch {
		case errors.Is(err, event.ErrOther):
			e.Note = &note{other: true}
			continue
		case err != nil:
			e.Fail(fmt.Errorf("%w: %w", inbox.ErrPoison, err))
			continue
		}
		n := &note{change: c}
		e.Note, notes[at] = n, n
		if c.State == nil || c.Version != 1 {
			ask = append(ask, c.EmployeeID)
		}
		if c.Version == 1 {
			fresh++
		}
	}
	if fresh > 0 {
		_ = i.store.Reserve(ctx, fresh) // what is wrong with the database shows when it is written to
	}
	if len(ask) == 0 {
		return
	}
	current, err := i.store.Current(ctx, ask)
	if err != nil {
		for at, e := range events {
			if notes[at] != nil {
				e.Fail(fmt.Errorf("%w: %w", inbox.ErrTransient, err))
			}
		}
		return
	}
	i.fetch(ctx, events, notes, current)
}

// fetch goes through the batch as Apply will, finds out which events cannot be applied by themselves, and fetches their employees.
func (i *Intake) fetch(ctx context.Context, events []*inbox.Event, notes []*note, current map[string]account.Account) {
	wanted := map[string][]int{}
	for at, n := range notes {
		if n == nil || len(wanted[n.change.EmployeeID]) > 0 {
			if n != nil {
				// Whatever the one before it fetches may be older than this one: it gets what is fetched too, and Apply
				// looks at it only if it needs it.
				wanted[n.change.EmployeeID] = append(wanted[n.change.EmployeeID], at)
			}
			continue
		}
		var before *account.Account
		if a, ok := current[n.change.EmployeeID]; ok {
			before = &a
		}
		after, action := account.Apply(before, n.change)
		if action == account.Fetch {
			wanted[n.change.EmployeeID] = []int{at}
		} else if action.Writes() {
			current[n.change.EmployeeID] = after
		}
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, fetchers)
	for id, places := range wanted {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			i.fetchOne(ctx, id, events, notes, places)
		})
	}
	wg.Wait()
}

func (i *Intake) fetchOne(ctx context.Context, id string, events []*inbox.Event, notes []*note, places []int) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	e, err := i.source.Employee(ctx, id)
	for _, at := range places {
		switch {
		case errors.Is(err, account.ErrUnknownEmployee):
			events[at].Fail(err)
		case err != nil:
			events[at].Fail(fmt.Errorf("%w: fetch the employee: %w", inbox.ErrTransient, err))
		case e.Version < notes[at].change.Version:
			events[at].Fail(fmt.Errorf("%w: %w", inbox.ErrTransient, account.ErrSourceBehind))
		default:
			fetched := e
			notes[at].change.Fetched = &fetched
		}
	}
}

// why says why an event asks for nothing.
func why(eventType string) string {
	if eventType == webhook.TypeTest {
		return "test event"
	}
	return event.ErrOther.Error()
}

var errUnprepared = errors.New("the account has changed since the employee was fetched")

// Handle applies the events to the accounts, in the transaction.
func (i *Intake) Handle(ctx context.Context, tx *sql.Tx, events []*inbox.Event) error {
	changes, places := make([]account.Change, 0, len(events)), make([]int, 0, len(events))
	for at, e := range events {
		n, ok := e.Note.(*note)
		switch {
		case !ok:
			return fmt.Errorf("event %s was not prepared", e.ID)
		case n.other:
			e.Ignore(why(e.Type))
		default:
			changes, places = append(changes, n.change), append(places, at)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	outcomes, err := i.store.Apply(ctx, tx, changes)
	if err != nil {
		return err
	}
	for k, o := range outcomes {
		e := events[places[k]]
		e.Outcome, e.Reference = string(o.Action), o.AccountID
		if o.Action == account.Fetch {
			e.Fail(fmt.Errorf("%w: %w", inbox.ErrTransient, errUnprepared))
			continue
		}
		if o.Action == account.Stale {
			e.Ignore(string(o.Action))
		}
		i.count(o.Action)
	}
	return nil
}
