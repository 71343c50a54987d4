package grpcapi

import (
	"encoding/base64"
	"strings"
)

// The sizes of a page.
const (
	defaultPage = 50
	maxPage     = 1000
)

// pageSize is how many the caller gets for asking for n.
func pageSize(n int32) int {
	if n <= 0 {
		return defaultPage
	}
	return int(min(n, maxPage))
}

// pageToken makes a token of where a page ended. kind tells the lists apart, so that a token of one is refused by another.
func pageToken(kind, at string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(kind + " " + at))
}

// parsePageToken gives what pageToken was given; the beginning for an empty token. valid says whether that can be such a place.
func parsePageToken(kind, token string, valid func(at string) bool) (at string, err error) {
	if token == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err == nil {
		var ok bool
		if at, ok = strings.CutPrefix(string(raw), kind+" "); ok && valid(at) {
			return at, nil
		}
	}
	return "", invalidArgument("page_token", "is not one that this list gave")
}

// page cuts a list that was read with one more than size, and gives the token for what follows.
func page[T any](kind string, list []T, size int, id func(T) string) ([]T, string) {
	if len(list) <= size {
		return list, ""
	}
	list = list[:size]
	return list, pageToken(kind, id(list[size-1]))
}
