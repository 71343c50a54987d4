// Package history is what was published and what became of it, to be read, and the few things that can still be done about
// it: send again, and erase.
package history

import (
	"context"
	"errors"

	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
)

// The errors of this package.
var (
	ErrNotFound = errors.New("there is no such delivery")
	// ErrErased means that there is nothing to send any more.
	ErrErased = errors.New("the event's data was removed; it cannot be sent again")
	// ErrDeleted means that there is nobody to send to any more.
	ErrDeleted = errors.New("the subscription was deleted; nothing can be sent to it")
)

// DeliveryQuery chooses deliveries. Empty fields choose all.
type DeliveryQuery struct {
	// Owner limits it to the subscriptions of one owner, deleted ones included; nil: everybody's.
	Owner          *string
	SubscriptionID string
	EventID        string
	EmployeeID     string
	Status         delivery.Status
	// Before is the id of the last one seen.
	Before string
	Limit  int
}

// EventQuery chooses a piece of the feed.
type EventQuery struct {
	// After is the position to go on from.
	After int64
	// Type is an exact type or a first word and .*; empty: all.
	Type       string
	EmployeeID string
	// Limit is how many at most. There may be fewer although there are more: what counts is Page.More.
	Limit int
}

// Page is a piece of the feed.
type Page struct {
	Events []event.Event
	// Next is where to go on: everything up to it has been looked at.
	Next int64
	// More says that there was more behind Next when the page was read.
	More bool
}

// Balance accounts for every delivery that was ever fanned out: FannedOut = Delivered + Pending + Dead + Cancelled.
type Balance struct {
	FannedOut, Delivered, Pending, Dead, Cancelled int64
}

// Balanced says whether it adds up.
func (b Balance) Balanced() bool { return b.FannedOut == b.Delivered+b.Pending+b.Dead+b.Cancelled }

// Erased is what EraseEmployee removed.
type Erased struct{ Events, Cancelled int64 }

// Store reads the history. Implementations are safe for concurrent use.
type Store interface {
	// Event is one event. Errors: event.ErrNotFound.
	Event(ctx context.Context, id string) (event.Event, error)
	// Events is a piece of the feed in the order of commits. Following Page.Next never skips an event, however late its
	// transaction committed.
	Events(ctx context.Context, q EventQuery) (Page, error)
	// Position is the end of the feed.
	Position(ctx context.Context) (int64, error)
	// Deliveries are those that the query asks for, newest first.
	Deliveries(ctx context.Context, q DeliveryQuery) ([]delivery.Delivery, error)
	// Delivery is one delivery with its attempts, oldest first; owner is as in DeliveryQuery. Errors: ErrNotFound.
	Delivery(ctx context.Context, id string, owner *string) (delivery.Delivery, []delivery.Attempt, error)
	// Retry makes a delivery due now: a pending one at once, one that has ended anew, with a schedule of its own. One that
	// is under way at this moment is left alone. Again is no harm.
	//
	// Errors: ErrNotFound, ErrErased, ErrDeleted.
	Retry(ctx context.Context, id string, owner *string, e audit.Entry) (delivery.Delivery, error)
	// HasSubscription fails with subscription.ErrNotFound if there is no such subscription of the owner, not even a deleted
	// one.
	HasSubscription(ctx context.Context, subscriptionID string, owner *string) error
	// Balance counts the deliveries of one subscription, or of all of an owner's, or of all.
	Balance(ctx context.Context, subscriptionID string, owner *string) (Balance, error)
	// Erase removes the payloads of an employee's events and what was kept of answers to them, and cancels what is pending.
	Erase(ctx context.Context, employeeID string, e audit.Entry) (Erased, error)
}
