package delivery

import (
	"context"

	"hirewire.dev/notifier/internal/subscription"
)

// Snapshots gives the subscriptions as this replica knows them.
type Snapshots interface {
	// Current is the newest snapshot in memory; never nil once the service runs.
	Current() *subscription.Snapshot
	// Changed is closed when there is another snapshot than the one that Current gives now.
	Changed() <-chan struct{}
	// Reload reads the subscriptions anew. Concurrent calls share one read.
	Reload(ctx context.Context) (*subscription.Snapshot, error)
}
