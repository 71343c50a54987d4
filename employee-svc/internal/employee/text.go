package employee

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The longest texts, in characters.
const (
	MaxText   = 255
	MaxNumber = 64
	MaxEmail  = 320
)

const (
	reasonEmpty     = "must not be empty"
	reasonEncoding  = "must be valid UTF-8"
	reasonInvisible = "must not contain control or invisible characters"
	reasonLost      = "contains U+FFFD, which stands for text that was lost"
)

// required refuses what is empty once it is clean.
func required(clean func(string) (string, string)) func(string) (string, string) {
	return func(s string) (string, string) {
		s, reason := clean(s)
		if reason == "" && s == "" {
			return "", reasonEmpty
		}
		return s, reason
	}
}

// cleanText takes a text in any script, up to MaxText characters, and takes the white space around it away.
func cleanText(s string) (string, string) {
	s, reason := printable(s, MaxText, "must have at most 255 characters")
	return strings.TrimFunc(s, unicode.IsSpace), reason
}

// cleanNumber takes HR's key. It is compared as it is, so white space around it is an error rather than a variant.
func cleanNumber(s string) (string, string) {
	s, reason := printable(s, MaxNumber, "must have at most 64 characters")
	switch {
	case reason != "":
	case s == "":
		reason = reasonEmpty
	case strings.TrimFunc(s, unicode.IsSpace) != s:
		reason = "must not start or end with white space"
	}
	return s, reason
}

// printable is s in normalisation form C, if it is a line of text without anything that cannot be seen.
func printable(s string, most int, tooLong string) (string, string) {
	if plain(s) {
		if len(s) > most {
			return "", tooLong
		}
		return s, ""
	}
	switch {
	case len(s) > 4*utf8.UTFMax*most: // so long that normalising cannot make it fit
		return "", tooLong
	case !utf8.ValidString(s):
		return "", reasonEncoding
	}
	for _, r := range s {
		switch {
		case r == utf8.RuneError:
			return "", reasonLost
		case invisible(r):
			return "", reasonInvisible
		}
	}
	s = norm.NFC.String(s)
	if utf8.RuneCountInString(s) > most {
		return "", tooLong
	}
	return s, ""
}

// plain reports whether s is printable ASCII, which is in every normalisation form.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// invisible reports control, format and private characters, line breaks and noncharacters. The two joiners stay: Persian
// and Indic names need them.
func invisible(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = 0x200C, 0x200D
	if r == zeroWidthNonJoiner || r == zeroWidthJoiner {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp) || r&0xFFFE == 0xFFFE || r >= 0xFDD0 && r <= 0xFDEF
}
