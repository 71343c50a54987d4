package delivery

import (
	"context"
	"errors"
	"time"

	"hirewire.dev/notifier/internal/event"
)

// Leased is a delivery that this process alone may send.
type Leased struct {
	Delivery
	// Token is what it is leased with.
	Token int64
	// Event is what to send, shared between deliveries. Nil when its payload is gone.
	Event *event.Event
}

// Want asks for a subscription's due deliveries.
type Want struct {
	SubscriptionID string
	// Room is how many to lease at most.
	Room int
	// Ordered says that only the first in line of each employee may go.
	Ordered bool
}

// Finished is an attempt's end, to be stored.
type Finished struct {
	Leased
	// Attempt is what was done; its Number is 0 when nothing was, because there was nothing to send.
	Attempt Attempt
	// Status is Delivered, Dead, Cancelled, or Pending when the next attempt is due after Wait; then Base is stored, too.
	Status Status
	Wait   time.Duration
	// Ordered says that later ones of its employee wait for it.
	Ordered bool
}

// Released is a lease given back unused.
type Released struct {
	ID    string
	Token int64
	// Wait is the time from now until it is due again.
	Wait time.Duration
}

// Erasure says that an employee's data was removed from the events up to a position: what is held of them must not be sent.
type Erasure struct {
	Number     int64 // grows with each
	EmployeeID string
	Position   int64
}

// ErrRefused says that a store refuses what it was given, and always will.
var ErrRefused = errors.New("refused by the store")

// grantBits are the bits of a token that tell the calls of one holder apart.
const grantBits = 32

// Holder is who leases with a token.
func Holder(token int64) int64 { return token >> grantBits << grantBits }

// Tokens are the first and the last token of a holder.
func Tokens(holder int64) (first, last int64) { return holder, holder | (1<<grantBits - 1) }

// BlockedFor is when a delivery that waits in line is looked at first, should nothing wake it before: what it waits for may
// have ended while it was being stored, so that neither saw the other.
const BlockedFor = 50 * time.Millisecond

// Store keeps deliveries.
//
// What is leased is marked with a token, which stands for one call that leased: so a call that is repeated, because its
// answer was lost, never touches what was leased again since. Tokens belong to holders (Holder), of which each process has
// one or more of its own. A lease holds while its holder is known: from Enter to Leave, or until it has not been renewed for
// so long that another process's Expire removes it.
//
// All methods may be called again after an error, whatever became of the first call.
type Store interface {
	// Enter makes a holder known.
	Enter(ctx context.Context, replica string, holder int64) error
	// Renew says that the holders are alive, gives those that are not known any more, and counts the replicas that are alive.
	Renew(ctx context.Context, holders []int64) (lost []int64, replicas int, err error)
	// Expire removes holders not renewed within ttl, and frees what they held.
	Expire(ctx context.Context, ttl time.Duration) (freed int, err error)
	// Leave removes a holder and frees what it held.
	Leave(ctx context.Context, holder int64) (freed int, err error)

	// Claim leases what is due and not leased, the longest due first; nothing when the token's holder is not known. more lists
	// the subscriptions that may have more due than there was room for.
	Claim(ctx context.Context, token int64, wants []Want) (claimed []Leased, more []string, err error)
	// Finish stores how attempts ended. held says for each whether its lease still held: if not, nothing was stored, but for
	// the attempt of what was cancelled meanwhile.
	// What waits in line behind what has ended becomes due; woken are the subscriptions of which something did.
	//
	// Errors: ErrRefused when the store will never take the batch.
	Finish(ctx context.Context, batch []Finished) (held []bool, woken []string, err error)
	// Release gives leases back.
	Release(ctx context.Context, batch []Released) error
	// Erasures are the recent ones with a number above after, by number.
	Erasures(ctx context.Context, after int64) ([]Erasure, error)
}
