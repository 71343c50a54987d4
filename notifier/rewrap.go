package notifier

import (
	"context"
	"errors"

	"hirewire.dev/notifier/internal/sqlstore"
	"hirewire.dev/platform/sqldb"
)

// Rewrap seals every stored secret anew, so that only the present master key opens them, and answers with how many it did.
// Give the earlier keys as OldMasterKeys, here and to the replicas that run meanwhile.
func Rewrap(ctx context.Context, cfg Config) (n int, err error) {
	if err := cfg.check(); err != nil {
		return 0, err
	}
	db, err := sqldb.Open(ctx, cfg.DatabaseURL.Reveal(), sqldb.ApplicationName("notifier rewrap"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	store := sqlstore.New(db)
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Migrate(ctx); err != nil {
		return 0, err
	}
	box, err := cfg.openBox(ctx, store, newID)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	return box.Rewrap(ctx, store)
}
