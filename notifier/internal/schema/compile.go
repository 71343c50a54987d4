package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
)

// A node is a compiled schema of one value.
type node struct {
	description string
	kind        string // "object", "string", "integer"
	properties  map[string]*node
	required    []string
	pattern     *regexp.Regexp
	enum        []string
	format      string
	minLength   int
	maxLength   int // math.MaxInt: no limit
	minimum     float64
	maximum     float64
}

// keywords are all that a schema here may say.
type keywords struct {
	Schema               string                     `json:"$schema"`
	Title                string                     `json:"title"`
	Description          string                     `json:"description"`
	Type                 string                     `json:"type"`
	Properties           map[string]json.RawMessage `json:"properties"`
	Required             []string                   `json:"required"`
	AdditionalProperties *bool                      `json:"additionalProperties"`
	Pattern              string                     `json:"pattern"`
	Enum                 []string                   `json:"enum"`
	Format               string                     `json:"format"`
	MinLength            int                        `json:"minLength"`
	MaxLength            *int                       `json:"maxLength"`
	Minimum              *float64                   `json:"minimum"`
	Maximum              *float64                   `json:"maximum"`
}

func compile(text []byte) (*node, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var k keywords
	if err := dec.Decode(&k); err != nil {
		return nil, err
	}
	n := &node{
		description: k.Description, kind: k.Type, required: k.Required, enum: k.Enum, format: k.Format,
		minLength: k.MinLength, maxLength: math.MaxInt, minimum: math.Inf(-1), maximum: math.Inf(1),
	}
	switch k.Type {
	case "object":
		if k.AdditionalProperties == nil || *k.AdditionalProperties {
			return nil, errors.New("an object must say additionalProperties: false")
		}
	case "string", "integer":
	default:
		return nil, fmt.Errorf("unknown type %q", k.Type)
	}
	switch k.Format {
	case "", "date", "date-time":
	default:
		return nil, fmt.Errorf("unknown format %q", k.Format)
	}
	if k.MaxLength != nil {
		n.maxLength = *k.MaxLength
	}
	if k.Minimum != nil {
		n.minimum = *k.Minimum
	}
	if k.Maximum != nil {
		n.maximum = *k.Maximum
	}
	if k.Pattern != "" {
		var err error
		if n.pattern, err = regexp.Compile(k.Pattern); err != nil {
			return nil, err
		}
	}
	n.properties = make(map[string]*node, len(k.Properties))
	for name, text := range k.Properties {
		property, err := compile(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		n.properties[name] = property
	}
	return n, nil
}
