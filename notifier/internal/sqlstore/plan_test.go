package sqlstore

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"hirewire.dev/notifier/internal/history"
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
		addEnded, addLate, leaseDelivery, headsOfLines, putOff, eventsByID, releaseDelivery,
	} {
		check(t, db, m.query(sqldb.SQLite, 2), 4*m.cols)
	}
	check(t, db, nextInLine, 4)
	check(t, db, db.SQL(dueSQL), 3)
	check(t, db, isDue, 2)
	check(t, db, whichDue, 1)

	l := deliveryList{q: history.DeliveryQuery{EventID: "evt_1", Limit: 1}}
	l.add(finishedDelivery, "", false)
	check(t, db, l.text(), len(l.w.args))
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

// TestPlansOfAnEmptiedTable: to PostgreSQL a table that was empty when it was vacuumed last looks empty for as long as it
// likes. All the same nothing of it is read without a condition.
func TestPlansOfAnEmptiedTable(t *testing.T) {
	db := sqldbtest.OpenPostgres(t)
	if err := New(db).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	run := func(query string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	run(`INSERT INTO deliveries (id, event_id, event_type, subscription_id, employee_id, position, due_at, lease, created_at)
		SELECT 'dlv_' || n, 'evt_' || n, 'employee.created', 'sub_1', 'emp_' || n, n, now(), n % 2, now() FROM generate_series(1, 5000) n`)
	run(`DELETE FROM deliveries`)
	run(`VACUUM ANALYZE deliveries`)
	var pages, tuples float64
	if err := db.QueryRowContext(t.Context(), `SELECT relpages, reltuples FROM pg_class WHERE oid = 'deliveries'::regclass`).Scan(&pages, &tuples); err != nil || pages == 0 || tuples != 0 {
		t.Fatalf("%v pages, %v rows, %v: nothing is shown with that", pages, tuples, err)
	}
	conn, err := connect(t.Context(), db.DB.DB)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for name, query := range map[string]string{"publish": publishSQL, "claim": claimSQL, "end": endSQL, "retry": retrySQL} {
		params := 0
		for strings.Contains(query, fmt.Sprintf("$%d", params+1)) {
			params++
		}
		if _, err := conn.ExecContext(t.Context(), "PREPARE "+name+"_plan AS "+query); err != nil {
			t.Fatal(err)
		}
		var plan []byte
		explain := "EXPLAIN (FORMAT JSON) EXECUTE " + name + "_plan(" + strings.TrimSuffix(strings.Repeat("NULL, ", params), ", ") + ")"
		if err := conn.QueryRowContext(t.Context(), explain).Scan(&plan); err != nil {
			t.Fatal(name, err)
		}
		var nodes []map[string]any
		if err := json.Unmarshal(plan, &nodes); err != nil {
			t.Fatal(err)
		}
		for found := nodes; len(found) > 0; found = found[1:] {
			n := found[0]
			if inner, ok := n["Plan"].(map[string]any); ok {
				found = append(found, inner)
			}
			children, _ := n["Plans"].([]any)
			for _, child := range children {
				found = append(found, child.(map[string]any))
			}
			if kind, _ := n["Node Type"].(string); n["Relation Name"] == "deliveries" && strings.HasSuffix(kind, "Scan") && n["Index Cond"] == nil {
				t.Errorf("%s: %s of all deliveries, by %v", name, kind, n["Index Name"])
			}
		}
	}
}
