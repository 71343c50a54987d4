package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"hirewire.dev/notifier/internal/ingest"
	"hirewire.dev/platform/sqldb"
)

var _ ingest.Store = (*Store)(nil)

// Publish implements ingest.Store.
//
// On PostgreSQL a batch of nothing but new events is one statement. Whatever else there is in it (an event that is known,
// an earlier try that may have been stored, another replica that stores at the same moment) is left to the transaction
// that runs on both engines, which looks before it writes.
func (s *Store) Publish(ctx context.Context, b *ingest.Batch) (stored bool, err error) {
	if s.db.Engine == sqldb.PostgreSQL && !s.generic && !b.Retried && len(b.Deliveries) <= maxStatementRows {
		stored, err = s.publishAtOnce(ctx, b)
		if _, known := sqldb.IsUnique(err); !known && !sqldb.IsRetryable(err) {
			return stored, wrap("publish", err)
		}
	}
	stored, err = s.publishInTx(ctx, b)
	return stored, wrap("publish", err)
}

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, err)
}

var errStale = errors.New("the subscriptions have changed")
