package account

// Change is something heard about one employee.
type Change struct {
	// EventID is the event that told.
	EventID    string
	EmployeeID string
	Version    int64
	// Terminated says that the event is the end of the employment, whatever else it carries.
	Terminated bool
	// State is the employee at Version; nil when the event does not carry it.
	State *Employee
	// Fetched is the employee as the source of truth showed it after the event was received; nil when nobody asked.
	Fetched *Employee
}

// Action is what a change does to an account. It is also the outcome that operators see.
type Action string

// The actions.
const (
	// Opened means that the account is new.
	Opened Action = "opened"
	// Updated means that the account shows another name, currency or version.
	Updated Action = "updated"
	// Ended means that the account is closed, by the end of the employment.
	Ended Action = "closed"
	// Reopened means that the source of truth shows the employee as active again, in a newer version.
	Reopened Action = "reopened"
	// Entombed means that the end was heard of first: no account is opened.
	Entombed Action = "termination recorded"
	// Stale means that the account shows this version, or a newer one, already.
	Stale Action = "stale version"
	// Fetch means that nothing can be decided without asking the source of truth.
	Fetch Action = "fetch"
)

// Writes reports whether the action changes what is stored.
func (a Action) Writes() bool { return a != Stale && a != Fetch }

// Apply decides what the change does to the account of its employee; current is nil when there is neither account nor
// tombstone. It returns the account as it is afterwards; a new one has no ID, Number and times yet.
//
// An older or equal version changes nothing. Where versions were missed, where an employee is not known yet and this is not
// its first version, and where the event does not carry the state, the answer is Fetch unless the change has been fetched:
// an account never shows a guess. The end of an employment that is not known leaves a tombstone.
func Apply(current *Account, c Change) (Account, Action) {
	var before Account
	if current != nil {
		before = *current
	}
	switch {
	case c.Version <= before.EmployeeVersion:
		return before, Stale
	case c.Fetched != nil && c.Fetched.Version <= before.EmployeeVersion:
		return before, Stale
	case c.Fetched != nil:
		return settle(current, c.EventID, *c.Fetched)
	case c.Terminated && current == nil:
		return settle(nil, c.EventID, Employee{ID: c.EmployeeID, Version: c.Version, Terminated: true})
	case c.Version != before.EmployeeVersion+1, c.State == nil && !c.Terminated:
		return before, Fetch
	case c.State == nil:
		// The account shows the version before this one, and this one is the end: nothing else is new.
		last := Employee{ID: c.EmployeeID, HolderName: before.HolderName, Currency: before.Currency, Version: c.Version, Terminated: true}
		return settle(current, c.EventID, last)
	default:
		state := *c.State
		state.Terminated = state.Terminated || c.Terminated
		return settle(current, c.EventID, state)
	}
}

// Reconcile decides what it takes for the account to show the employee as the source of truth showed it. Unlike an event, it
// also repairs an account that shows the right version with the wrong content.
func Reconcile(current *Account, e Employee) (Account, Action) {
	if current != nil && (e.Version < current.EmployeeVersion || e.Version == current.EmployeeVersion && shows(*current, e)) {
		return *current, Stale
	}
	return settle(current, "", e)
}

// shows reports whether the account's content is the employee's.
func shows(a Account, e Employee) bool {
	if a.Status == Tombstone {
		return e.Terminated
	}
	return (a.Status == Closed) == e.Terminated && a.HolderName == e.HolderName && (a.BalanceMinor != 0 || a.Currency == e.Currency)
}

// settle makes the account show the employee.
func settle(current *Account, eventID string, e Employee) (Account, Action) {
	a := Account{Status: Tombstone, EmployeeID: e.ID}
	if current != nil {
		a = *current
	}
	a.EmployeeVersion = e.Version
	if a.Status == Tombstone && e.Terminated {
		return a, Entombed
	}
	a.HolderName = e.HolderName
	if a.BalanceMinor == 0 {
		a.Currency = e.Currency
	}
	switch {
	case a.Status == Tombstone:
		a.Status, a.OpenedByEventID = Open, eventID
		return a, Opened
	case e.Terminated && a.Status == Open:
		a.Status = Closed
		return a, Ended
	case !e.Terminated && a.Status == Closed:
		a.Status = Open
		return a, Reopened
	}
	return a, Updated
}
