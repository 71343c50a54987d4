// Package iban makes account numbers of a country: IBANs of the real length and layout, with the check digits of ISO 13616
// and, where all banks of the country share one, those of the national scheme.
package iban

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrExhausted says that the country's layout has no more account numbers for this bank.
var ErrExhausted = errors.New("no account numbers left")

// Issuer numbers the accounts of one bank. It is immutable.
type Issuer struct {
	country  string
	scheme   scheme
	template []byte // the BBAN with the bank's own code filled in
}

// NewIssuer makes the issuer for a bank in a country (ISO 3166-1 alpha-2). The bank's code is derived from its name: two banks
// of one country hardly ever share one where it is long, but by chance where it has three or four digits. See WithCode.
func NewIssuer(country, bank string) (*Issuer, error) {
	s, ok := schemes[country]
	if !ok {
		return nil, fmt.Errorf("country %q: no account numbers known; use one of %s", country, strings.Join(Countries(), ", "))
	}
	return &Issuer{country: country, scheme: s, template: s.template(bank)}, nil
}

// WithCode is the issuer with a code that somebody has assigned to the bank: all digits and letters of the layout that name bank
// and branch. "" changes nothing.
func (i *Issuer) WithCode(code string) (*Issuer, error) {
	if code == "" {
		return i, nil
	}
	template, err := i.scheme.templateOf(code)
	if err != nil {
		return nil, err
	}
	return &Issuer{country: i.country, scheme: i.scheme, template: template}, nil
}

// Countries lists the countries that have an issuer, in order.
func Countries() []string {
	all := make([]string, 0, len(schemes))
	for c := range schemes {
		all = append(all, c)
	}
	slices.Sort(all)
	return all
}

// Number is the account number for a serial, from 1 on. Different serials have different numbers.
//
// Errors: ErrExhausted.
func (i *Issuer) Number(serial int64) (string, error) {
	bban := slices.Clone(i.template)
	if serial < 1 || !i.scheme.fill(bban, serial) {
		return "", fmt.Errorf("serial %d of %s: %w", serial, i.country, ErrExhausted)
	}
	return withCheckDigits(i.country, string(bban)), nil
}

// Capacity is how many account numbers the country's layout has for the bank.
func (i *Issuer) Capacity() int64 { return i.scheme.capacity() - 1 }

// withCheckDigits puts country and the ISO 7064 mod 97-10 check digits in front of a BBAN.
func withCheckDigits(country, bban string) string {
	check := 98 - mod97(bban+country+"00")
	return fmt.Sprintf("%s%02d%s", country, check, bban)
}

// mod97 is the remainder of s read as a number in which A is 10 and Z is 35.
func mod97(s string) int {
	r := 0
	for _, c := range []byte(s) {
		if c >= 'A' {
			r = (r*100 + int(c-'A') + 10) % 97
		} else {
			r = (r*10 + int(c-'0')) % 97
		}
	}
	return r
}
