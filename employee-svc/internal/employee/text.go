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
	reasonBlank     = "must have a character that can be seen"
	reasonEncoding  = "must be valid UTF-8"
	reasonInvisible = "must not contain control, invisible or unassigned characters"
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
	s, reason := printable(s, MaxText, "must have at most 255 characters", shapes)
	s = strings.TrimFunc(s, unicode.IsSpace)
	if s != "" && blank(s) {
		reason = reasonBlank
	}
	return s, reason
}

// cleanNumber takes HR's key. It is compared as it is, so white space around it is an error rather than a variant.
func cleanNumber(s string) (string, string) {
	s, reason := printable(s, MaxNumber, "must have at most 64 characters", nil)
	switch {
	case reason != "":
	case s == "":
		reason = reasonEmpty
	case strings.TrimFunc(s, unicode.IsSpace) != s:
		reason = "must not start or end with white space"
	case blank(s):
		reason = reasonBlank
	}
	return s, reason
}

// printable is s in normalisation form C, if it is a line of text without anything that cannot be seen, but for what has
// leave to be there; nil gives it to nothing. Its length is that of the normalised text.
func printable(s string, most int, tooLong string, leave func(before string, r rune, after string) bool) (string, string) {
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
	s = norm.NFC.String(s)
	for i, r := range s {
		switch {
		case r == utf8.RuneError:
			return "", reasonLost
		case invisible(r) && (leave == nil || !leave(s[:i], r, s[i+utf8.RuneLen(r):])):
			return "", reasonInvisible
		}
	}
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

// invisible reports characters that show nothing (control, format, line breaks, fillers, variation selectors) and those that
// nobody knows the look of (private, unassigned).
func invisible(r rune) bool {
	switch r {
	case '\u2800', '\ufffc', '\U00016fe4', '\U0001d159': // blank Braille, a lost object, the Khitan filler, a note without a head
		return true
	}
	if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
		return true
	}
	return unicode.Is(unicode.Cn, r) && !ideographic(r)
}

// ideographic reports the two planes that are kept for Han characters. More are assigned each year, because people bear
// them in their names, and Go's tables lag behind.
func ideographic(r rune) bool { return 0x20000 <= r && r <= 0x3FFFD && r != 0x2FFFE && r != 0x2FFFF }

// blank reports a text in which nothing can be seen. A mark alone has nothing to stand on.
func blank(s string) bool { return !strings.ContainsFunc(s, visible) }

func visible(r rune) bool {
	return unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S) && !invisible(r) || ideographic(r)
}

// shapes reports a joiner or a variation selector where it changes the look of a letter: Persian and Indic names need the
// one, Mongolian and Japanese names the other.
func shapes(before string, r rune, after string) bool {
	last, _ := utf8.DecodeLastRuneInString(before)
	next, _ := utf8.DecodeRuneInString(after)
	const virama = 9 // the combining class; a joiner after one may end a word
	switch r {
	case '\u200c', '\u200d':
		return norm.NFC.PropertiesString(string(last)).CCC() == virama || unicode.In(last, unicode.L, unicode.M) && unicode.In(next, unicode.L, unicode.M)
	default:
		return unicode.Is(unicode.Variation_Selector, r) && visible(last)
	}
}
