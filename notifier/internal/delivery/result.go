package delivery

import (
	"context"
	"time"

	"hirewire.dev/notifier/internal/event"
)

// Result is a finished attempt and where it leaves its delivery.
type Result struct {
	Delivery Delivery // as it stands after the attempt
	Attempt  Attempt
	// Event is what was sent; read only. Nil when its payload was gone, and nothing was sent.
	Event *event.Event
}

// Observer is told of finished attempts once they are stored: for metrics, and for those who watch.
type Observer interface {
	// Observe must not block, and must not keep the slice.
	Observe(results []Result)
}

// Health is told how receivers fare. Calls are few: runs of failures are reported when they begin, once a minute while
// they last, and when they end. They come one at a time from a goroutine of their own, so they may take a while.
type Health interface {
	// Gone: the receiver answered 410. The dispatcher sends it nothing more until a snapshot shows it ACTIVE at a higher
	// revision than the one that the attempt saw, which is given.
	Gone(ctx context.Context, subscriptionID string, revision int64, a Attempt) error
	// Failing: there has been nothing but failures since the given time; last is the latest.
	Failing(ctx context.Context, subscriptionID string, since time.Time, last Attempt) error
	// Recovered: a success ended a run of failures that was reported here, or that the snapshot shows (FailingSince).
	Recovered(ctx context.Context, subscriptionID string) error
}
