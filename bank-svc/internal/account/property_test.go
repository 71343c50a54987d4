package account

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// history is an employee's whole life in the source of truth: state i is version i+1.
type history []Employee

func drawHistory(t *rapid.T, i int) history {
	id := fmt.Sprintf("emp_%d", i)
	n := rapid.IntRange(1, 6).Draw(t, "versions")
	leaves := rapid.Bool().Draw(t, "leaves")
	h := make(history, n)
	for v := range h {
		h[v] = Employee{
			ID: id, Version: int64(v + 1),
			HolderName: rapid.SampledFrom([]string{"Ada", "Ada L", "A. Lovelace"}).Draw(t, "name"),
			Currency:   rapid.SampledFrom([]string{"EUR", "USD"}).Draw(t, "currency"),
		}
	}
	if leaves && n > 1 {
		last := h[n-2]
		last.Version, last.Terminated = int64(n), true
		h[n-1] = last
	}
	return h
}

func (h history) change(v int, thin bool) Change {
	s := h[v]
	c := Change{EventID: fmt.Sprintf("evt_%s_%d", s.ID, v+1), EmployeeID: s.ID, Version: s.Version, Terminated: s.Terminated}
	if !thin {
		c.State = &s
	}
	return c
}

// bank applies as the store does: it keeps what Apply says, once for each employee.
type bank struct {
	accounts map[string]Account
	opened   map[string]int
}

func (b *bank) keep(t *rapid.T, employeeID string, before *Account, after Account, action Action) {
	if !action.Writes() {
		return
	}
	if before != nil && after.EmployeeVersion < before.EmployeeVersion {
		t.Fatalf("%s: version %d after %d", employeeID, after.EmployeeVersion, before.EmployeeVersion)
	}
	if action == Opened {
		b.opened[employeeID]++
		after.ID, after.Number = "acc_"+employeeID, "N"+employeeID
	}
	b.accounts[employeeID] = after
}

func (b *bank) current(employeeID string) *Account {
	if a, ok := b.accounts[employeeID]; ok {
		return &a
	}
	return nil
}

func (b *bank) hear(t *rapid.T, c Change, truth history) {
	before := b.current(c.EmployeeID)
	after, action := Apply(before, c)
	if action == Fetch {
		// The source of truth has at least this version by now, and perhaps later ones.
		at := rapid.IntRange(int(c.Version)-1, len(truth)-1).Draw(t, "fetched")
		c.Fetched = &truth[at]
		if after, action = Apply(before, c); action == Fetch {
			t.Fatalf("asks again")
		}
	}
	b.keep(t, c.EmployeeID, before, after, action)
}

// However events are duplicated, reordered and dropped, one reconciliation makes the accounts what the source of truth says;
// no employee ever has two, and no account goes back to an older version.
func TestAnyInterleavingConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		truths := map[string]history{}
		var heard []Change
		for i := range rapid.IntRange(1, 4).Draw(t, "employees") {
			h := drawHistory(t, i)
			truths[h[0].ID] = h
			for v := range h {
				for range rapid.IntRange(0, 3).Draw(t, "times") {
					heard = append(heard, h.change(v, rapid.Bool().Draw(t, "thin")))
				}
			}
		}
		b := &bank{accounts: map[string]Account{}, opened: map[string]int{}}
		if len(heard) > 0 {
			heard = rapid.Permutation(heard).Draw(t, "order")
		}
		for _, c := range heard {
			b.hear(t, c, truths[c.EmployeeID])
		}
		for id, h := range truths {
			last := h[len(h)-1]
			before := b.current(id)
			after, action := Reconcile(before, last)
			b.keep(t, id, before, after, action)
			got, ok := b.accounts[id]
			if !ok || got.EmployeeVersion != last.Version || !shows(got, last) {
				t.Fatalf("account %+v does not show %+v", got, last)
			}
			if b.opened[id] > 1 {
				t.Fatalf("%s has %d accounts", id, b.opened[id])
			}
			for _, c := range heard {
				if c.EmployeeID != id {
					continue
				}
				if again, action := Apply(&got, c); action != Stale || !cmp.Equal(again, got) {
					t.Fatalf("an event heard once more does %q", action)
				}
			}
		}
	})
}
