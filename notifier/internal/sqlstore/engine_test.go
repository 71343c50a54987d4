package sqlstore_test

import (
	"testing"

	"hirewire.dev/notifier/internal/sqlstore"
	"hirewire.dev/notifier/internal/sqlstore/storetest"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

func TestEngine(t *testing.T) {
	for _, c := range []struct {
		name string
		open func(*testing.T) *sqldb.DB
		make func(*sqldb.DB) *sqlstore.Store
	}{
		{"sqlite", openSQLite, sqlstore.New},
		{"postgres", openPostgres, sqlstore.New},
		{"postgres, statements for both", openPostgres, func(db *sqldb.DB) *sqlstore.Store { return sqlstore.New(db).Generic() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) (storetest.Store, *sqldb.DB, func() storetest.Store) {
				db := c.open(t)
				open := func() storetest.Store {
					s := c.make(db)
					t.Cleanup(func() { _ = s.Close() })
					return s
				}
				s := c.make(db)
				t.Cleanup(func() { _ = s.Close() })
				if err := s.Migrate(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := s.Enter(t.Context(), "test", 7<<32); err != nil {
					t.Fatal(err)
				}
				return s, db, open
			})
		})
	}
}

func openSQLite(t *testing.T) *sqldb.DB   { return sqldbtest.Open(t, sqldbtest.SQLiteURL(t)) }
func openPostgres(t *testing.T) *sqldb.DB { return sqldbtest.Open(t, sqldbtest.PostgresURL(t)) }
