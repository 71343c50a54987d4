package delivery

import (
	"context"
	"time"

	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/subscription"
)

// SendTimeout bounds one attempt as a whole: connecting, TLS, the request, and the answer with its body.
const SendTimeout = 15 * time.Second

// Request is one attempt to make.
type Request struct {
	// Target is the subscription as it is now; not the one that the first attempt saw.
	Target *subscription.Target
	// DeliveryID names the delivery.
	DeliveryID string
	// Event is what to send. It is shared with other deliveries: read only. Its Payload is the standard body, its ID the
	// webhook-id, its Traceparent the trace to go on with.
	Event *event.Event
	// Attempt is its number, from 1.
	Attempt int
}

// Sender makes attempts.
type Sender interface {
	// Send renders, signs and POSTs, and tells what came of it in the Attempt: it never fails in another way, and never
	// takes longer than SendTimeout. When ctx ends first, the attempt does, with OutcomeTimeout. Send is called
	// concurrently, also for one subscription.
	Send(ctx context.Context, r Request) Attempt
}
