package banksvc

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"hirewire.dev/platform/sqldb"
)

const (
	databasePatience = 30 * time.Second
	databaseWait     = 500 * time.Millisecond
)

// openDatabase opens the database, and waits a while for one that is still starting.
func openDatabase(ctx context.Context, url string, log *slog.Logger) (*sqldb.DB, error) {
	deadline := time.Now().Add(databasePatience)
	for {
		db, err := sqldb.Open(ctx, url, sqldb.ApplicationName("bank-svc"))
		if err == nil {
			return db, nil
		}
		if !sqldb.IsUnavailable(err) || time.Now().After(deadline) || ctx.Err() != nil {
			return nil, fmt.Errorf("BANK_DATABASE_URL: %w", err)
		}
		log.WarnContext(ctx, "waiting for the database", "error", err)
		timer := time.NewTimer(databaseWait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}
