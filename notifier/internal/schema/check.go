package schema

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"
)

// A Violation is a place in data that does not fit.
type Violation struct {
	// Path begins with data: data.employee.version.
	Path string
	// Reason is for the publisher. It never repeats a value.
	Reason string
}

// maxViolations bounds what one event can say about itself.
const maxViolations = 20

// Check says what in data does not fit the type; nothing when it fits. Data may be nil.
func (t *Type) Check(data *structpb.Struct) []Violation {
	var c checker
	if data == nil {
		c.add("data", "is required")
		return c.found
	}
	c.object("data", t.root, data)
	return c.found
}

type checker struct{ found []Violation }

func (c *checker) add(path, reason string) {
	if len(c.found) < maxViolations {
		c.found = append(c.found, Violation{path, reason})
	}
}

// object lists what does not fit. Data that fit cost no allocation.
func (c *checker) object(path string, n *node, s *structpb.Struct) {
	if n.fitsObject(s) {
		return
	}
	for _, name := range n.required {
		if _, ok := s.GetFields()[name]; !ok {
			c.add(path+"."+name, "is required")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.GetFields())) {
		if property, ok := n.properties[name]; ok {
			c.value(path+"."+name, property, s.GetFields()[name])
		} else {
			c.add(path+"."+label(name), "is not a member of this type of event")
		}
	}
}

func (n *node) fitsObject(s *structpb.Struct) bool {
	for _, name := range n.required {
		if _, ok := s.GetFields()[name]; !ok {
			return false
		}
	}
	for name, v := range s.GetFields() {
		if property, ok := n.properties[name]; !ok || !property.fits(v) {
			return false
		}
	}
	return true
}

func (n *node) fits(v *structpb.Value) bool {
	if n.kind == "object" {
		s := v.GetStructValue()
		return s != nil && n.fitsObject(s)
	}
	return n.scalar(v) == ""
}

func (c *checker) value(path string, n *node, v *structpb.Value) {
	if n.kind != "object" {
		if reason := n.scalar(v); reason != "" {
			c.add(path, reason)
		}
		return
	}
	if s := v.GetStructValue(); s != nil {
		c.object(path, n, s)
	} else {
		c.add(path, "must be an object")
	}
}

// scalar says why a string or an integer does not fit; empty when it does.
func (n *node) scalar(v *structpb.Value) string {
	if n.kind == "integer" {
		number, ok := v.GetKind().(*structpb.Value_NumberValue)
		if !ok || number.NumberValue != math.Trunc(number.NumberValue) {
			return "must be a whole number"
		}
		if number.NumberValue < n.minimum || number.NumberValue > n.maximum {
			return fmt.Sprintf("must be from %.0f to %.0f", n.minimum, n.maximum)
		}
		return ""
	}
	text, ok := v.GetKind().(*structpb.Value_StringValue)
	if !ok {
		return "must be a string"
	}
	return n.text(text.StringValue)
}

func (n *node) text(s string) string {
	// A string has no more characters than bytes, and mostly that settles it.
	if len(s) > n.maxLength && utf8.RuneCountInString(s) > n.maxLength {
		return "must have at most " + strconv.Itoa(n.maxLength) + " characters"
	}
	if n.minLength > 0 && utf8.RuneCountInString(s) < n.minLength {
		return "must have at least " + strconv.Itoa(n.minLength) + " characters"
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "must not contain control characters"
	}
	if n.enum != nil && !slices.Contains(n.enum, s) {
		return "must be one of " + strings.Join(n.enum, ", ")
	}
	if n.pattern != nil && !n.pattern.MatchString(s) {
		return "must match " + n.pattern.String()
	}
	switch n.format {
	case "date":
		if _, err := time.Parse(time.DateOnly, s); err != nil {
			return "must be a date such as 2026-11-20"
		}
	case "date-time":
		// Go's parser also takes a comma for the point.
		if _, err := time.Parse(time.RFC3339, s); err != nil || strings.Contains(s, ",") {
			return "must be a time such as 2026-11-20T09:00:00Z"
		}
	}
	return ""
}

// label is a name as it may be shown: what is not a plain word is quoted and cut.
func label(name string) string {
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "") + "…"
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c == '.' || c >= 0x7f {
			return strconv.QuoteToASCII(name)
		}
	}
	return name
}
