package iban

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// scheme is how a country writes a BBAN (the SWIFT IBAN registry), one letter for each place:
//
//	b  bank or branch code, a digit      B  the same, a letter
//	c  account number, a digit           k  national check digit or letter
//	0  always zero
type scheme struct {
	layout string
	// check fills in the places marked k, and says whether there are check digits for this number: some sums have none.
	check func(bban []byte) bool
	// sparse says that some numbers have no check digits. At most one value in ten of the account number's last digit does.
	sparse bool
}

var schemes = map[string]scheme{
	"AT": {layout: "bbbbbccccccccccc"},
	"BE": {layout: "bbbccccccckk", check: belgium},
	"CH": {layout: "bbbbbcccccccccccc"},
	"CZ": {layout: "bbbb000000ccccccccck", check: czech, sparse: true},
	"DE": {layout: "bbbbbbbbcccccccccc"},
	"DK": {layout: "bbbbcccccccccc"},
	"EE": {layout: "bbbbccccccccccck", check: estonia},
	"ES": {layout: "bbbbbbbbkkcccccccccc", check: spain},
	"FI": {layout: "bbbbbbccccccck", check: finland},
	"FR": {layout: "bbbbbbbbbbccccccccccckk", check: france},
	"GB": {layout: "BBBBbbbbbbcccccccc"},
	"GR": {layout: "bbbbbbbcccccccccccccccc"},
	"IE": {layout: "BBBBbbbbbbcccccccc"},
	"IT": {layout: "kbbbbbbbbbbcccccccccccc", check: italy},
	"LI": {layout: "bbbbbcccccccccccc"},
	"LT": {layout: "bbbbbccccccccccc"},
	"LU": {layout: "bbbccccccccccccc"},
	"LV": {layout: "BBBBccccccccccccc"},
	"MC": {layout: "bbbbbbbbbbccccccccccckk", check: france},
	"NL": {layout: "BBBBccccccccck", check: netherlands, sparse: true},
	"NO": {layout: "bbbbcccccck", check: norway, sparse: true},
	"PL": {layout: "bbbbbbbkcccccccccccccccc", check: poland},
	"PT": {layout: "bbbbbbbbccccccccccckk", check: mod97Check},
	"SE": {layout: "bbbccccccccccccccccc"},
	"SI": {layout: "bbbbbcccccccckk", check: mod97Check},
	"SK": {layout: "bbbb000000ccccccccck", check: czech, sparse: true},
	"SM": {layout: "kbbbbbbbbbbcccccccccccc", check: italy},
}

// template is the layout with the bank's code in it, made of its name.
func (s scheme) template(bank string) []byte {
	t := []byte(s.layout)
	hash := sha256.Sum256([]byte(bank))
	code := binary.BigEndian.Uint64(hash[:]) // more than any layout has codes
	for i, c := range t {
		switch c {
		case 'b':
			t[i] = '0' + byte(code%10)
			code /= 10
		case 'B':
			t[i] = 'A' + byte(code%26)
			code /= 26
		}
	}
	return t
}

// templateOf is the layout with a given code in it.
func (s scheme) templateOf(code string) ([]byte, error) {
	t := []byte(s.layout)
	rest, right := code, true
	for i, c := range t {
		if c != 'b' && c != 'B' {
			continue
		}
		if rest == "" {
			right = false
			break
		}
		t[i], rest = rest[0], rest[1:]
		right = right && (c == 'b' && t[i] >= '0' && t[i] <= '9' || c == 'B' && t[i] >= 'A' && t[i] <= 'Z')
	}
	if !right || rest != "" {
		return nil, errors.New("must have " + s.codeForm())
	}
	return t, nil
}

// codeForm says what a code consists of.
func (s scheme) codeForm() string {
	letters, digits := strings.Count(s.layout, "B"), strings.Count(s.layout, "b")
	var parts []string
	if letters > 0 {
		parts = append(parts, fmt.Sprintf("%d letters from A to Z", letters))
	}
	if digits > 0 {
		parts = append(parts, fmt.Sprintf("%d digits", digits))
	}
	return strings.Join(parts, " and ")
}

// fill writes the serial's account number and its check digits; false when the serial is too large for the layout.
func (s scheme) fill(bban []byte, serial int64) bool {
	last := bytes.LastIndexByte(bban, 'c')
	if !s.sparse {
		return digits(bban, last, serial) && (s.check == nil || s.check(bban))
	}
	// Nine of ten values of the last digit, or ten, have check digits: nine serials share the digits before it, and take
	// the values that do in turn.
	if !digits(bban, last-1, serial/9) {
		return false
	}
	nth := serial % 9
	for d := byte('0'); d <= '9'; d++ {
		bban[last] = d
		if !s.check(bban) {
			continue
		}
		if nth == 0 {
			return true
		}
		nth--
	}
	return false
}

// capacity is the first serial that is too large.
func (s scheme) capacity() int64 {
	n := int64(1)
	for range strings.Count(s.layout, "c") {
		n *= 10
	}
	if s.sparse {
		n = n / 10 * 9
	}
	return n
}

// digits writes n, right-aligned at last, over the places of the account number.
func digits(bban []byte, last int, n int64) bool {
	for i := last; i >= 0 && bban[i] == 'c'; i-- {
		bban[i] = '0' + byte(n%10)
		n /= 10
	}
	return n == 0
}
