package sqlstore

import (
	"context"
	"errors"

	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/sqldb"
)

// startReplay makes the replay that brings a new subscription its past events.
func startReplay(_ context.Context, _ *sqldb.Tx, _ subscription.Record, _ subscription.Since) error {
	return errors.New("past events cannot be replayed")
}
