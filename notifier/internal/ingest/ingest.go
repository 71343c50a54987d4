// Package ingest takes events in: it stores each with one delivery for every subscription that wants it, before it answers.
package ingest

import (
	"context"
	"crypto/sha256"
	"time"

	"hirewire.dev/notifier/internal/event"
)

// Batch is what one commit stores: the events of several calls, and their deliveries.
type Batch struct {
	// Epoch is that of the snapshot of subscriptions by which the deliveries were made.
	Epoch int64
	// Token is what deliveries that can be sent at once are leased with.
	Token int64
	// At is when it is stored: what events were received at, and waits count from.
	At time.Time
	// Calls has one entry for each call. Each is stored as a whole or not at all.
	Calls []Call
	// Events are those of all calls, in order; none occurs twice. Publish sets their Position.
	Events []*event.Event
	// Sums are those of the events.
	Sums [][sha256.Size]byte
	// Deliveries are for all events, in the order of the events. Publish sets their Fate.
	Deliveries []NewDelivery
	// Retried says that an earlier try of this very batch may have been stored.
	Retried bool
}

// Call is one caller's part of a batch.
type Call struct {
	// Events counts the call's events, Deliveries its deliveries.
	Events, Deliveries int
	// Err is set by Publish: a *event.ConflictError, or nil.
	Err error
}

// Fate is what became of a delivery in Publish.
type Fate uint8

// The fates of a new delivery.
const (
	// Absent: nothing was stored, because its event was known already or its call was refused.
	Absent Fate = iota
	// Queued: stored, to be claimed when it is due.
	Queued
	// Blocked: stored, and something earlier of its employee is pending; due delivery.BlockedFor from now, or when that ends.
	Blocked
	// Leased: stored under the batch's token, to be sent by the caller.
	Leased
)

// NewDelivery is one event for one subscription.
type NewDelivery struct {
	ID             string
	Event          int // index in Batch.Events
	SubscriptionID string
	// Ordered says that it must wait for earlier ones of its employee.
	Ordered bool
	// Lease asks for it to be leased, if nothing earlier is pending where Ordered.
	Lease bool
	// Wait is the time from now until it is due.
	Wait time.Duration
	Fate Fate
}

// Store keeps events.
type Store interface {
	// Publish stores the batch in one transaction and reports whether it did: false means that the subscriptions have
	// changed since Epoch, and nothing was stored. An event that is known with the same content is left as it is, and
	// gets no deliveries; a call with one that is known with other content is left out whole, and its Err says so.
	//
	// After an error it may have been stored: call again with Retried set. Then deliveries which the earlier try leased have
	// the fate Leased again.
	//
	// Errors: delivery.ErrRefused when the store will never take the batch.
	Publish(ctx context.Context, b *Batch) (stored bool, err error)
	// Now is the time by the database's clock.
	Now() time.Time
}
