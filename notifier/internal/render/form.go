package render

import (
	"net/url"
	"strings"
)

// form writes the standard body as application/x-www-form-urlencoded: members are joined by dots, items are numbered from
// 0, null is empty. data.employee.given_name=Zo%C3%AB&data.tags.0=new
func form(standard []byte) ([]byte, error) {
	var f formWriter
	if err := walk(standard, &f); err != nil {
		return nil, err
	}
	return f.out, nil
}

type formWriter struct {
	out  []byte
	path []string
}

func (f *formWriter) enter(name string, _ bool) { f.path = append(f.path, name) }

func (f *formWriter) leave() { f.path = f.path[:len(f.path)-1] }

func (f *formWriter) value(text string) {
	if len(f.out) > 0 {
		f.out = append(f.out, '&')
	}
	f.out = append(f.out, url.QueryEscape(strings.Join(f.path, "."))...)
	f.out = append(f.out, '=')
	f.out = append(f.out, url.QueryEscape(text)...)
}
