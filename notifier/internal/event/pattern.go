package event

import "strings"

// MatchesType says whether a pattern, an exact type or a first word and .* (employee.*), takes in a type.
func MatchesType(pattern, typ string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasSuffix(prefix, ".") {
		return strings.HasPrefix(typ, prefix)
	}
	return pattern == typ
}
