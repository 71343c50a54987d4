package sqldb

import (
	"regexp"
	"strings"
)

// SQL is the query as this engine runs it. Write PostgreSQL's dialect; on
// SQLite, whose writers are one at a time, FOR UPDATE [SKIP LOCKED] is
// removed. Answers are cached: pass constant texts.
func (db *DB) SQL(query string) string {
	if db.Engine == PostgreSQL {
		return query
	}
	if q, ok := db.rewrites.Load(query); ok {
		return q.(string)
	}
	q := rowLocks.ReplaceAllString(query, "")
	db.rewrites.Store(query, q)
	return q
}

var (
	rowLocks = regexp.MustCompile(`(?i)\s+FOR\s+(NO\s+KEY\s+)?(UPDATE|SHARE)(\s+OF\s+\w+)?(\s+(SKIP\s+LOCKED|NOWAIT))?\b`)
	types    = regexp.MustCompile(`(?i)\b(timestamptz|bytea)\b`)
)

// ddl is a migration as the engine runs it: other engines' sections cut out,
// types translated.
func ddl(engine Engine, text string) string {
	var b strings.Builder
	keep := true
	for line := range strings.Lines(text) {
		switch strings.TrimSpace(line) {
		case "-- postgres:":
			keep = engine == PostgreSQL
		case "-- sqlite:":
			keep = engine == SQLite
		case "-- all:":
			keep = true
		default:
			if keep {
				b.WriteString(line)
			}
		}
	}
	if engine != SQLite {
		return b.String()
	}
	out := rowLocks.ReplaceAllString(b.String(), "")
	return types.ReplaceAllStringFunc(out, func(t string) string {
		if strings.EqualFold(t, "bytea") {
			return "blob"
		}
		return "timestamp"
	})
}
