package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
)

// maxDepth is how deep a payload may nest in the formats that are walked. Schemas allow far less.
const maxDepth = 64

// A visitor is told of a JSON document in its own order.
type visitor interface {
	// enter begins the member or item called name; the root has none.
	enter(name string, item bool)
	// value is a scalar: a string, a number as it is written, true, false, or empty for null.
	value(text string)
	// leave ends what the matching enter began.
	leave()
}

// walk reads a JSON document and keeps the order of its members, which a map would not.
func walk(document []byte, v visitor) error {
	dec := json.NewDecoder(bytes.NewReader(document))
	dec.UseNumber()
	if err := walkValue(dec, v, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("something follows the JSON value")
	}
	return nil
}

func walkValue(dec *json.Decoder, v visitor, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("the payload nests deeper than %d", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return err
	}
	switch token := token.(type) {
	case json.Delim:
		for i := 0; dec.More(); i++ {
			if token == '{' {
				name, err := dec.Token()
				if err != nil {
					return err
				}
				v.enter(name.(string), false)
			} else {
				v.enter(strconv.Itoa(i), true)
			}
			if err := walkValue(dec, v, depth+1); err != nil {
				return err
			}
			v.leave()
		}
		_, err := dec.Token() // the closing one
		return err
	case string:
		v.value(token)
	case json.Number:
		v.value(token.String())
	case bool:
		v.value(strconv.FormatBool(token))
	case nil:
		v.value("")
	}
	return nil
}
