// Package schema knows the types of events and what their data must look like.
//
// Each type has a JSON Schema (2020-12), which is what readers of the API see and what data are checked against when an
// event is published. The check is compiled from the schema's own text into a walk over the protobuf value, because it runs
// for each event: it knows the keywords that the schemas here use, and refuses to start with one that it does not. A
// general validator serves the tests as the judge of it. Besides, no text may hold control characters, which a pattern could
// say only with control characters.
package schema

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Type is a kind of event.
type Type struct {
	Name        string
	Version     int // of the schema; a change that old data do not fit makes a new one
	Description string
	JSON        []byte // the JSON Schema of data
	root        *node
}

// What Lookup can say besides yes.
var (
	// ErrMalformed: the name is not dotted words.
	ErrMalformed = errors.New("an event type is words of A-Z, a-z, 0-9 and _, at least two, joined by dots")
	// ErrReserved: the name belongs to events that the notifier makes itself.
	ErrReserved = errors.New("event types that begin with notifier., webhook. or subscription. are reserved")
	// ErrUnknown: there is no such type.
	ErrUnknown = errors.New("there is no such event type")
)

var wellFormed = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)+$`)

// MaxName is how long the name of a type may be.
const MaxName = 128

// reserved are the first words of the notifier's own events.
var reserved = []string{"notifier", "webhook", "subscription"}

// Lookup finds a type by its name.
func Lookup(name string) (*Type, error) {
	if t, ok := byName[name]; ok {
		return t, nil
	}
	if len(name) > MaxName || !wellFormed.MatchString(name) {
		return nil, ErrMalformed
	}
	if first, _, _ := strings.Cut(name, "."); slices.Contains(reserved, first) {
		return nil, ErrReserved
	}
	return nil, ErrUnknown
}

// Types lists all types by name.
func Types() []*Type { return slices.Clone(all) }

// Files are named by type and version: employee.created.v1.json.
//
//go:embed types/*.json
var files embed.FS

var (
	all    = load()
	byName = func() map[string]*Type {
		m := make(map[string]*Type, len(all))
		for _, t := range all {
			m[t.Name] = t
		}
		return m
	}()
)

func load() []*Type {
	names, err := fs.Glob(files, "types/*.json")
	if err != nil {
		panic(err)
	}
	var types []*Type
	for _, name := range names {
		t, err := loadType(name)
		if err != nil {
			panic(fmt.Errorf("%s: %w", name, err)) // an embedded file: every test sees it
		}
		types = append(types, t)
	}
	return types
}

func loadType(name string) (*Type, error) {
	text, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	base := strings.TrimSuffix(strings.TrimPrefix(name, "types/"), ".json")
	i := strings.LastIndex(base, ".v")
	version, err := strconv.Atoi(base[i+2:])
	if err != nil {
		return nil, err
	}
	root, err := compile(text)
	if err != nil {
		return nil, err
	}
	return &Type{Name: base[:i], Version: version, Description: root.description, JSON: text, root: root}, nil
}
