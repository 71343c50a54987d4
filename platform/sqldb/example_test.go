package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing/fstest"

	"hirewire.dev/platform/sqldb"
)

// A write carries a key that its maker chose, so that a commit whose outcome is
// unknown can be settled by reading the key back.
func ExampleDB_InTx() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	db, err := sqldb.Open(ctx, "sqlite:"+filepath.Join(dir, "example.db"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	if err := db.Migrate(ctx, "example", fstest.MapFS{"0001_accounts.sql": {Data: []byte(
		`CREATE TABLE accounts (id text PRIMARY KEY, opened_at timestamptz);`,
	)}}); err != nil {
		fmt.Println(err)
		return
	}
	open := func(id string) error {
		err := db.InTx(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO accounts (id) VALUES ($1)`, id)
			return err
		})
		if errors.Is(err, sqldb.ErrAmbiguous) {
			var there int
			if err := db.GetContext(ctx, &there, `SELECT count(*) FROM accounts WHERE id = $1`, id); err != nil {
				return err
			}
			if there == 1 {
				return nil
			}
		}
		return err
	}
	fmt.Println(open("acc_1"))
	_, taken := sqldb.IsUnique(open("acc_1"))
	fmt.Println(taken)
	// Output:
	// <nil>
	// true
}
