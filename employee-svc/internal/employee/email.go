package employee

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// EmailKey is what makes an email unique: its case and its compatibility forms, such as full width, folded, and its domain
// as it is looked up.
func EmailKey(email string) string {
	if plain(email) {
		return strings.ToLower(email)
	}
	local, domain, _ := strings.Cut(norm.NFKC.String(cases.Fold().String(norm.NFKD.String(email))), "@")
	if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
		domain = ascii
	}
	return local + "@" + domain
}

const (
	maxLocal  = 64  // octets, RFC 5321 section 4.5.3.1.1
	maxDomain = 255 // octets, RFC 5321 section 4.5.3.1.2
	maxLabel  = 63  // octets, RFC 1035 section 2.3.4

	reasonEmail = "must be an address such as name@example.com"
)

// cleanEmail takes an addr-spec (RFC 5322 section 3.4.1, with the characters of RFC 6531) of two dot-separated parts: no
// display name, no quoted part, no domain literal, no white space.
func cleanEmail(s string) (string, string) {
	s, reason := printable(s, MaxEmail, "must have at most 320 characters", nil)
	if reason != "" {
		return "", reason
	}
	if s == "" {
		return "", reasonEmpty
	}
	local, domain, ok := strings.Cut(s, "@")
	switch {
	case !ok || strings.Contains(domain, "@"):
		return "", "must have exactly one @"
	case len(local) > maxLocal:
		return "", "must have at most 64 octets before the @"
	case len(domain) > maxDomain:
		return "", "must have at most 255 octets after the @"
	case !dotted(local, isAtom) || !dotted(domain, isLabel) || isNumeric(domain[strings.LastIndexByte(domain, '.')+1:]) || !isIDN(domain):
		return "", reasonEmail
	}
	return s, ""
}

// dotted reports whether every part of s between dots is right.
func dotted(s string, right func(string) bool) bool {
	for part := range strings.SplitSeq(s, ".") {
		if blank(part) || !right(part) {
			return false
		}
	}
	return true
}

func isAtom(s string) bool {
	for _, r := range s {
		if !isAlphanumeric(r) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r) {
			return false
		}
	}
	return true
}

func isLabel(s string) bool {
	for _, r := range s {
		if !isAlphanumeric(r) && r != '-' {
			return false
		}
	}
	return len(s) <= maxLabel && s[0] != '-' && s[len(s)-1] != '-'
}

func isAlphanumeric(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	}
	return unicode.In(r, unicode.L, unicode.M, unicode.N) || ideographic(r)
}

// isIDN reports a domain that can be looked up, as far as it is international: what cannot has no form to be compared by.
func isIDN(domain string) bool {
	if plain(domain) && !strings.Contains(strings.ToLower(domain), "xn--") {
		return true
	}
	_, err := idna.Lookup.ToASCII(domain)
	return err == nil
}

// isNumeric reports an all-digit label: as the last one it makes the domain an IP address, or nothing.
func isNumeric(label string) bool {
	for i := range len(label) {
		if label[i] < '0' || label[i] > '9' {
			return false
		}
	}
	return true
}
