package render

import (
	"bytes"
	"encoding/xml"
)

// xmlDocument writes the standard body as XML: an element for each member, <item> for each item of a list, and
// <member name="…"> for a name that no element may have. Characters that XML 1.0 cannot hold become U+FFFD.
func xmlDocument(standard []byte) ([]byte, error) {
	w := xmlWriter{}
	w.out.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<event>")
	if err := walk(standard, &w); err != nil {
		return nil, err
	}
	w.out.WriteString("</event>\n")
	return w.out.Bytes(), nil
}

type xmlWriter struct {
	out  bytes.Buffer
	open []string
}

func (w *xmlWriter) enter(name string, item bool) {
	switch {
	case item:
		name = "item"
	case !isElementName(name):
		w.out.WriteString(`<member name="`)
		_ = xml.EscapeText(&w.out, []byte(name)) // a buffer takes everything
		w.out.WriteString(`">`)
		w.open = append(w.open, "member")
		return
	}
	w.out.WriteString("<" + name + ">")
	w.open = append(w.open, name)
}

func (w *xmlWriter) value(text string) { _ = xml.EscapeText(&w.out, []byte(text)) }

func (w *xmlWriter) leave() {
	last := len(w.open) - 1
	w.out.WriteString("</" + w.open[last] + ">")
	w.open = w.open[:last]
}

// isElementName is stricter than XML: ASCII, and none of the names that XML keeps for itself.
func isElementName(name string) bool {
	if name == "" || len(name) >= 3 && (name[0]|0x20) == 'x' && (name[1]|0x20) == 'm' && (name[2]|0x20) == 'l' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
		if !letter && (i == 0 || c != '-' && c != '.' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}
