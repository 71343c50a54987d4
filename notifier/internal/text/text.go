// Package text says what may stand in a text that people read.
package text

import "unicode"

// Invisible reports control, format and private characters, line breaks and noncharacters: what hides something from a reader
// or shows it in another order. The two joiners stay: Persian and Indic names need them.
func Invisible(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = 0x200C, 0x200D
	if r >= ' ' && r <= '~' || r == zeroWidthNonJoiner || r == zeroWidthJoiner {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp) || r&0xFFFE == 0xFFFE || r >= 0xFDD0 && r <= 0xFDEF
}
