package delivery

import (
	"context"

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

// Health is told of receivers that want nothing more.
type Health interface {
	// Gone: whoever answers at the URL answered 410. The dispatcher sends the subscription nothing more until a snapshot
	// shows another URL or a newer revision of it. Calls come from a goroutine of their own, and are repeated after an error.
	Gone(ctx context.Context, subscriptionID, url string) error
}
