package sqldb

import (
	"strings"
)

// SQL is the query as this engine runs it. Write PostgreSQL's dialect; on
// SQLite, whose writers are one at a time, a FOR UPDATE or FOR SHARE clause is
// cut out. Answers are kept: pass constant texts, not composed ones.
func (db *DB) SQL(query string) string {
	if db.Engine == PostgreSQL {
		return query
	}
	if q, ok := db.rewrites.Load(query); ok {
		return q.(string)
	}
	q := toSQLite(query)
	db.rewrites.Store(query, q)
	return q
}

// ddl is a migration as the engine runs it. The lines after a line
// "-- postgres:" or "-- sqlite:" are for that engine alone, up to the next
// such line or "-- all:".
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
	if engine == SQLite {
		return toSQLite(b.String())
	}
	return b.String()
}

// toSQLite translates what SQLite has under another name or does not have:
// the types timestamptz and bytea, and row locks. Literals, quoted names and
// comments stay as they are.
func toSQLite(query string) string {
	var b strings.Builder
	b.Grow(len(query))
	pending := "" // white space that goes with a row lock if one follows
	for rest := query; rest != ""; {
		n := rowLock(rest)
		if n > 0 {
			rest, pending = rest[n:], ""
			continue
		}
		tok := token(rest)
		rest = rest[len(tok):]
		if isSpace(tok[0]) {
			b.WriteString(pending)
			pending = tok
			continue
		}
		b.WriteString(pending)
		pending = ""
		switch {
		case strings.EqualFold(tok, "timestamptz"):
			tok = "timestamp"
		case strings.EqualFold(tok, "bytea"):
			tok = "blob"
		}
		b.WriteString(tok)
	}
	b.WriteString(pending)
	return b.String()
}

// rowLock is the length of a row lock clause that s starts with; 0 if none.
func rowLock(s string) int {
	p := words{rest: s}
	if !p.next("FOR") {
		return 0
	}
	switch {
	case p.next("UPDATE"), p.next("SHARE"):
	case p.next("NO") && p.next("KEY") && p.next("UPDATE"):
	case p.next("KEY") && p.next("SHARE"):
	default:
		return 0
	}
	if p.next("OF") {
		p.skip() // one table or alias
	}
	if p.next("NOWAIT") {
		return len(s) - len(p.rest)
	}
	if mark := p; p.next("SKIP") && !p.next("LOCKED") {
		p = mark
	}
	return len(s) - len(p.rest)
}

// words reads words and the white space before each.
type words struct {
	rest string
	any  bool
}

func (p *words) next(word string) bool {
	tok, rest := p.peek()
	if !strings.EqualFold(tok, word) {
		return false
	}
	p.rest, p.any = rest, true
	return true
}

func (p *words) skip() { _, p.rest = p.peek() }

func (p *words) peek() (tok, rest string) {
	rest = p.rest
	if p.any && rest != "" && isSpace(rest[0]) {
		rest = rest[len(token(rest)):]
	}
	if rest == "" {
		return "", p.rest
	}
	tok = token(rest)
	return tok, rest[len(tok):]
}

// token is the first token of s: white space, a word, a literal, a quoted
// name, a comment, or one other character.
func token(s string) string {
	switch c := s[0]; {
	case isSpace(c):
		return s[:span(s, isSpace)]
	case c == '\'' || c == '"':
		return s[:quoted(s, c)]
	case strings.HasPrefix(s, "--"):
		line, _, _ := strings.Cut(s, "\n")
		return line
	case strings.HasPrefix(s, "/*"):
		if i := strings.Index(s[2:], "*/"); i >= 0 {
			return s[:i+4]
		}
		return s
	case c == '$':
		if tag := s[:1+span(s[1:], isWord)]; len(s) > len(tag) && s[len(tag)] == '$' {
			tag += "$"
			if i := strings.Index(s[len(tag):], tag); i >= 0 {
				return s[:i+2*len(tag)]
			}
			return s
		}
		return s[:1+span(s[1:], isWord)]
	case isWord(c):
		return s[:span(s, isWord)]
	default:
		return s[:1]
	}
}

// quoted is the length of the literal or name in quotes that s starts with; a
// doubled quote stands for itself.
func quoted(s string, quote byte) int {
	for i := 1; i < len(s); i++ {
		if s[i] != quote {
			continue
		}
		if i+1 < len(s) && s[i+1] == quote {
			i++
			continue
		}
		return i + 1
	}
	return len(s)
}

func span(s string, in func(byte) bool) int {
	i := 0
	for i < len(s) && in(s[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
