// Package reconcile walks the source of truth and makes a bank's accounts show what it says.
package reconcile

import (
	"context"
	"errors"
	"time"

	"hirewire.dev/bank-svc/internal/account"
)

// Errors of reconciliations.
var (
	// ErrNotFound says that there is no such reconciliation, or no longer.
	ErrNotFound = errors.New("no such reconciliation")
	// ErrTooMany says that enough of them wait already.
	ErrTooMany = errors.New("too many reconciliations are waiting")
	// ErrRequestReused says that the request id stands for a reconciliation that was to do something else.
	ErrRequestReused = errors.New("the request id was used with other content")
	// ErrLost says that the lease has gone to somebody else, who goes on from the last page that was stored.
	ErrLost = errors.New("the reconciliation is somebody else's now")
)

// Status is how far a reconciliation is.
type Status string

// The statuses of a reconciliation.
const (
	Waiting   Status = "WAITING"
	Running   Status = "RUNNING"
	Succeeded Status = "SUCCEEDED"
	Failed    Status = "FAILED"
)

// Trigger is what asked for it.
type Trigger string

// The triggers.
const (
	AtStart    Trigger = "start"
	AtInterval Trigger = "interval"
	OnRequest  Trigger = "request"
)

// MaxOrphans is how many orphaned accounts a report names.
const MaxOrphans = 100

// Report is what a reconciliation found and did.
type Report struct {
	ID      string // rec_ and a ULID
	Status  Status
	DryRun  bool // count, and change nothing
	Trigger Trigger
	Counts
	OrphanedAccountIDs []string // the first MaxOrphans
	Error              string   // why it failed, or what it is waiting for; for people
	RequestedAt        time.Time
	StartedAt          time.Time // zero while it waits
	FinishedAt         time.Time // zero until it ends
}

// Counts are a report's figures.
type Counts struct {
	EmployeesChecked int64
	AccountsOpened   int64 // were missing
	AccountsUpdated  int64 // showed something older, or wrong
	AccountsClosed   int64 // of employees who had left
	AccountsOrphaned int64 // have no employee behind them
}

// Add counts what was done to one account.
func (c *Counts) Add(action account.Action) {
	switch action {
	case account.Opened:
		c.AccountsOpened++
	case account.Updated, account.Reopened:
		c.AccountsUpdated++
	case account.Ended:
		c.AccountsClosed++
	case account.Entombed, account.Stale, account.Fetch:
	}
}

// Run is a reconciliation under way.
type Run struct {
	Report
	PageToken string // of the page to read next
	Walked    bool   // there is none left
	Lease     int64  // the fence: a newer lease makes every write of an older one fail
}

// Page is one page of the source of truth.
type Page struct {
	Employees []account.Employee
	Next      string // empty: it was the last
}

// Source is the source of truth.
type Source interface {
	// Page reads the page at token, "" for the first. A walk along Next from the first to the last page meets every employee
	// that was there when it began.
	Page(ctx context.Context, token string) (Page, error)
}

// Store keeps reconciliations and the accounts they repair.
type Store interface {
	// Request stores a new reconciliation that waits for its turn. With a request id that is known it answers with the one
	// that was stored then, which must be as dry. With since, it answers false where a reconciliation that is no dry run waits, runs, or has
	// started after that time.
	//
	// Errors: ErrTooMany, ErrRequestReused.
	Request(ctx context.Context, r Report, requestID string, since time.Time) (Report, bool, error)
	// Claim leases the running reconciliation whose lease has ended, or where none runs, the first that waits; false when
	// there is neither.
	Claim(ctx context.Context, lease time.Duration) (Run, bool, error)
	// Hold renews the lease and notes what the run is waiting for. Zero gives the lease up.
	//
	// Errors: ErrLost.
	Hold(ctx context.Context, r Run, lease time.Duration, why string) error
	// Advance makes the accounts show the page's employees (or, in a dry run, finds out what it would do), counts, moves to
	// the next page and renews the lease: all of it, in one transaction, or nothing.
	//
	// Errors: ErrLost.
	Advance(ctx context.Context, r Run, page Page, lease time.Duration) (Run, error)
	// Finish ends the run: with the accounts that the walk did not meet, or with why it failed. Of ended ones the newest are kept.
	//
	// Errors: ErrLost.
	Finish(ctx context.Context, r Run, failure string) (Report, error)
	// Sweep removes a bounded part of what ended runs left behind, and reports whether there was any.
	Sweep(ctx context.Context) (bool, error)
}
