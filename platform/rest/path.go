package rest

import (
	"slices"
	"strings"
)

// path is a route's pattern, for saying which methods a path allows.
type path struct {
	method   string
	segments []string // "" is a variable
	verb     string
}

func newPath(method, pattern string) path {
	p := path{method: method}
	last := pattern[strings.LastIndexByte(pattern, '/')+1:]
	if i := strings.LastIndexByte(last, ':'); i >= 0 {
		p.verb = last[i:]
		pattern = strings.TrimSuffix(pattern, p.verb)
	}
	for s := range strings.SplitSeq(pattern, "/") {
		if strings.HasPrefix(s, "{") {
			s = ""
		}
		p.segments = append(p.segments, s)
	}
	return p
}

func (p path) matches(name string) bool {
	name, ok := strings.CutSuffix(name, p.verb)
	if !ok {
		return false
	}
	segments := strings.Split(name, "/")
	return slices.EqualFunc(p.segments[1:], segments[1:], func(want, got string) bool {
		return want == got || want == "" && got != ""
	})
}

// allowed lists the methods of a path, for the Allow header.
func (g *Gateway) allowed(name string) string {
	var methods []string
	for _, p := range g.paths {
		if p.matches(name) && !slices.Contains(methods, p.method) {
			methods = append(methods, p.method)
		}
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}
