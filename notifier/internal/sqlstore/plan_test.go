package sqlstore

import (
	"strings"
	"testing"

	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

// TestPlans: no statement of the hot path reads a table as a whole (SQLite; sessions forbid it on PostgreSQL).
func TestPlans(t *testing.T) {
	db := sqldbtest.OpenSQLite(t)
	s := New(db)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*many{
		knownEvents, insertEvent, insertDelivery, pendingLines, leasedBefore, addFannedOut, endDelivery, addFinished, retryDelivery, addAttempt,
		addEnded, leaseDelivery, headsOfLines, putOff, eventsByID, releaseDelivery,
	} {
		check(t, db, m.query(sqldb.SQLite, 2), 4*m.cols)
	}
	check(t, db, nextInLine, 4)
	check(t, db, db.SQL(dueSQL), 3)
	check(t, db, isDue, 2)
	check(t, db, whichDue, 1)
}

func check(t *testing.T, db *sqldb.DB, query string, params int) {
	t.Helper()
	rows, err := db.QueryxContext(t.Context(), "EXPLAIN QUERY PLAN "+query, make([]any, params)...)
	if err != nil {
		t.Fatalf("%v: %s", err, query)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"deliveries", "events", "finished_deliveries", "attempts", "balances", "d", "h"} {
			if strings.HasPrefix(detail, "SCAN "+table+" ") || detail == "SCAN "+table {
				t.Errorf("%s: %s", detail, query)
			}
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
