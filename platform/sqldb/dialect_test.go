package sqldb_test

import (
	"regexp"
	"testing"

	"hirewire.dev/platform/sqldb"
)

var translated = regexp.MustCompile(`(?i)for|timestamptz|bytea`)

func FuzzSQL(f *testing.F) {
	for _, s := range []string{
		"SELECT 1 -- x\n/* y */ 'z''' \"q\" $1 $$ a $$ $t$ b $t$", "SELECT 'x FOR UPDATE'", "a FOR UPDATE OF b SKIP LOCKED", "/*", "$", "$a", "'", "é",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		sqlite, postgres := &sqldb.DB{Engine: sqldb.SQLite}, &sqldb.DB{Engine: sqldb.PostgreSQL}
		if got := postgres.SQL(query); got != query {
			t.Errorf("on PostgreSQL %q became %q", query, got)
		}
		got := sqlite.SQL(query)
		if !translated.MatchString(query) && got != query {
			t.Errorf("%q became %q", query, got)
		}
		if len(got) > len(query) {
			t.Errorf("%q grew to %q", query, got)
		}
	})
}

func BenchmarkSQL(b *testing.B) {
	db := &sqldb.DB{Engine: sqldb.SQLite}
	b.ReportAllocs()
	for b.Loop() {
		_ = db.SQL(`SELECT id FROM deliveries WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED`)
	}
}
