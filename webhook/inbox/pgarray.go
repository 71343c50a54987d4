package inbox

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// PostgreSQL's text form of arrays, so that a batch is one parameter for each
// column and the package needs no driver.

func array[T any](items []T, sizeHint int, appendItem func(dst []byte, item T) []byte) string {
	dst := append(make([]byte, 0, 2+len(items)*sizeHint), '{')
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendItem(dst, item)
	}
	return string(append(dst, '}'))
}

func textArray[T any](items []T, of func(T) string) string {
	return array(items, 32, func(dst []byte, item T) []byte { return appendQuoted(dst, of(item)) })
}

func appendQuoted(dst []byte, text string) []byte {
	dst = append(dst, '"')
	if strings.ContainsAny(text, `"\`) {
		for i := range len(text) {
			if text[i] == '"' || text[i] == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, text[i])
		}
	} else {
		dst = append(dst, text...)
	}
	return append(dst, '"')
}

func byteaArray[T any](items []T, of func(T) []byte) string {
	return array(items, 1024, func(dst []byte, item T) []byte {
		return append(hex.AppendEncode(append(dst, `"\\x`...), of(item)), '"')
	})
}

func intArray[T any](items []T, of func(T) int64) string {
	return array(items, 12, func(dst []byte, item T) []byte { return strconv.AppendInt(dst, of(item), 10) })
}

func timeArray[T any](items []T, of func(T) time.Time) string {
	return array(items, 32, func(dst []byte, item T) []byte {
		return append(of(item).UTC().AppendFormat(append(dst, '"'), "2006-01-02T15:04:05.000000Z"), '"')
	})
}
