package sqlstore

import (
	"strconv"
	"strings"
)

// where builds a condition of parts that may be left out. Every value is a parameter.
type where struct {
	parts []string
	args  []any
}

// and adds a condition, in which each ? stands for the next of the values.
func (w *where) and(condition string, values ...any) {
	var b strings.Builder
	for _, part := range strings.SplitAfter(condition, "?") {
		text, marked := strings.CutSuffix(part, "?")
		b.WriteString(text)
		if marked {
			b.WriteString(w.arg(values[0]))
			values = values[1:]
		}
	}
	w.parts = append(w.parts, b.String())
}

// arg adds a value and gives the placeholder for it.
func (w *where) arg(value any) string {
	w.args = append(w.args, value)
	return "$" + strconv.Itoa(len(w.args))
}

// text is the WHERE clause, or empty.
func (w *where) text() string {
	if len(w.parts) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.parts, " AND ")
}
