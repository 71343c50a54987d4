package sqldb_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

func count(t *testing.T, db *sqldb.DB, table string) int {
	t.Helper()
	var n int
	if err := db.GetContext(t.Context(), &n, `SELECT count(*) FROM `+table); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestInTxIsAllOrNothing(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB) {
		db := migrated(t, open(t))
		errBoom := errors.New("boom")
		two := func(end func() error) func(tx *sqldb.Tx) error {
			return func(tx *sqldb.Tx) error {
				if tx.Engine != db.Engine {
					t.Errorf("engine %s", tx.Engine)
				}
				if _, err := tx.ExecContext(t.Context(), tx.SQL(`INSERT INTO pairs VALUES (1, 1)`)); err != nil {
					return err
				}
				if _, err := tx.ExecContext(t.Context(), `INSERT INTO pairs VALUES (2, 2)`); err != nil {
					return err
				}
				return end()
			}
		}
		if err := db.InTx(t.Context(), two(func() error { return errBoom })); !errors.Is(err, errBoom) {
			t.Errorf("fn's error comes back as %v", err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = db.InTx(t.Context(), two(func() error { panic("boom") }))
		}()
		ctx, cancel := context.WithCancel(t.Context())
		if err := db.InTx(ctx, two(func() error { cancel(); return nil })); !errors.Is(err, context.Canceled) || errors.Is(err, sqldb.ErrAmbiguous) {
			t.Errorf("cancelled: %v", err)
		}
		if n := count(t, db, "pairs"); n != 0 {
			t.Fatalf("%d rows, want 0", n)
		}
		if err := db.InTx(t.Context(), two(func() error { return nil })); err != nil {
			t.Fatal(err)
		}
		if n := count(t, db, "pairs"); n != 2 {
			t.Errorf("%d rows, want 2", n)
		}
		if n := db.Stats().InUse; n != 0 {
			t.Errorf("%d connections in use", n)
		}
	})
}

// A constraint that is checked at COMMIT fails it for certain.
func TestRefusedCommitIsNotAmbiguous(t *testing.T) {
	db := sqldbtest.OpenPostgres(t)
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)`); err != nil {
		t.Fatal(err)
	}
	err := db.InTx(t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.ExecContext(t.Context(), `INSERT INTO once VALUES (1), (1)`)
		return err
	})
	if name, ok := sqldb.IsUnique(err); !ok || name != "once_n_key" || errors.Is(err, sqldb.ErrAmbiguous) {
		t.Error(err)
	}
	err = db.InTx(t.Context(), func(tx *sqldb.Tx) error {
		_, _ = tx.ExecContext(t.Context(), `SELECT 1/0`)
		return nil
	})
	if err == nil || errors.Is(err, sqldb.ErrAmbiguous) {
		t.Errorf("commit of a failed transaction: %v", err)
	}
}

func TestConcurrentTransactionsLoseNothing(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB) {
		db := migrated(t, open(t))
		if _, err := db.ExecContext(t.Context(), `INSERT INTO pairs VALUES (1, 0)`); err != nil {
			t.Fatal(err)
		}
		const workers, each = 8, 25
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range each {
					err := db.InTx(t.Context(), func(tx *sqldb.Tx) error {
						var b int
						if err := tx.GetContext(t.Context(), &b, tx.SQL(`SELECT b FROM pairs WHERE a = 1 FOR UPDATE`)); err != nil {
							return err
						}
						_, err := tx.ExecContext(t.Context(), `UPDATE pairs SET b = $1 WHERE a = 1`, b+1)
						return err
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		var b int
		if err := db.GetContext(t.Context(), &b, `SELECT b FROM pairs`); err != nil || b != workers*each {
			t.Errorf("%d, want %d (%v)", b, workers*each, err)
		}
	})
}
