package sqlstore

import (
	"crypto/sha256"
	"time"

	"hirewire.dev/employee-svc/internal/employee"
)

// item is one create on its way into the database. Its ids and its event are made before the first try, so that a
// repetition finds what an earlier one has stored.
type item struct {
	employee  employee.Employee // as it will be stored
	emailKey  string
	eventID   string
	body      []byte // of the event
	tenant    string
	requestID string
	sum       [sha256.Size]byte // of the content, if there is a request id
}

// job is the creates of one call.
type job struct {
	items []item
	// atomic: all of them or none.
	atomic bool
}

// outcome is what became of an item.
type outcome struct {
	result employee.Result
	err    error
	// found: a commit of this very item, whose reply was lost, had stored it.
	found bool
}

type requestKey struct{ tenant, id string }

// request is what an earlier create with a request id left.
type request struct {
	sum        [sha256.Size]byte
	employeeID string
	createdAt  time.Time
}

// taken are the keys that are in use: those that the database knows, and then those of the items accepted before.
type taken struct {
	numbers, emails map[string]string // to the employee's id
	requests        map[requestKey]request
}

// plan decides what is to be stored, and what each caller is told once it is. The items of one job are looked at in their
// order, and so are the jobs; nobody's mistake is another's.
func plan(jobs []job, t taken) (accepted []*item, outcomes [][]outcome) {
	outcomes = make([][]outcome, len(jobs))
	for j := range jobs {
		accepted, outcomes[j] = jobs[j].plan(accepted, t)
	}
	return accepted, outcomes
}

func (j *job) plan(accepted []*item, t taken) ([]*item, []outcome) {
	before := len(accepted)
	outcomes := make([]outcome, len(j.items))
	for i := range j.items {
		it := &j.items[i]
		var fresh bool
		outcomes[i], fresh = it.outcome(t)
		if fresh {
			accepted = append(accepted, it)
			it.take(t)
		}
		if err := outcomes[i].err; err != nil && j.atomic {
			for _, other := range accepted[before:] {
				other.giveBack(t)
			}
			for k := range outcomes {
				outcomes[k] = outcome{err: &employee.ItemError{Index: i, Err: err}}
			}
			return accepted[:before], outcomes
		}
	}
	return accepted, outcomes
}

// outcome is what the item meets; fresh says that it is to be stored.
func (it *item) outcome(t taken) (o outcome, fresh bool) {
	if it.requestID != "" {
		if r, ok := t.requests[requestKey{it.tenant, it.requestID}]; ok {
			if r.sum != it.sum {
				return outcome{err: employee.ErrRequestReused}, false
			}
			own := r.employeeID == it.employee.ID
			return outcome{result: employee.Result{Employee: it.employee.Hired(r.employeeID, r.createdAt), Existing: !own}, found: own}, false
		}
	}
	switch id, ok := t.numbers[it.employee.Number]; {
	case ok && id == it.employee.ID:
		return outcome{result: employee.Result{Employee: it.employee}, found: true}, false
	case ok:
		return outcome{err: employee.ErrNumberTaken}, false
	}
	if _, ok := t.emails[it.emailKey]; ok {
		return outcome{err: employee.ErrEmailTaken}, false
	}
	return outcome{result: employee.Result{Employee: it.employee}}, true
}

func (it *item) take(t taken) {
	t.numbers[it.employee.Number] = it.employee.ID
	t.emails[it.emailKey] = it.employee.ID
	if it.requestID != "" {
		t.requests[requestKey{it.tenant, it.requestID}] = request{it.sum, it.employee.ID, it.employee.CreatedAt}
	}
}

func (it *item) giveBack(t taken) {
	delete(t.numbers, it.employee.Number)
	delete(t.emails, it.emailKey)
	delete(t.requests, requestKey{it.tenant, it.requestID})
}
