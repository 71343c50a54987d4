package sqlstore

import (
	"context"

	"hirewire.dev/notifier/internal/replay"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/sqldb"
)

// startReplay makes the replay that brings a new subscription its past events: up to the position at which the transaction,
// which holds the feed's row, makes the subscription. What is published after it is fanned out.
func startReplay(ctx context.Context, tx *sqldb.Tx, r subscription.Record, since subscription.Since) error {
	position, err := lockFeed(ctx, tx)
	if err != nil {
		return err
	}
	return insertReplay(ctx, tx, replay.Replay{ID: since.ReplayID, SubscriptionID: r.ID, Start: since.Time, CreatedAt: r.CreatedAt}, position, r.CreatedAt)
}
