package grpcapi

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"hirewire.dev/platform/rpc"
)

// The sizes of a page.
const (
	defaultPage = 50
	maxPage     = 1000
)

// listing is one way of asking for a list: a token belongs to the list and the filters that it came from.
type listing struct {
	question string
	size     int
}

func newListing(name string, size int32, filters ...string) listing {
	l := listing{question: name + "\x00" + strings.Join(filters, "\x00"), size: defaultPage}
	if size > 0 {
		l.size = int(min(size, maxPage))
	}
	return l
}

// limit is how many to read: one more than the page holds, to know whether there are more.
func (l listing) limit() int { return l.size + 1 }

// begin is where the token's page begins; empty for the first. valid says whether that can be such a place.
func (l listing) begin(token string, valid func(at string) bool) (at string, err error) {
	if token == "" {
		return "", nil
	}
	if raw, err := base64.RawURLEncoding.DecodeString(token); err == nil && len(raw) > placeSum {
		if at := string(raw[placeSum:]); l.token(at) == token && valid(at) {
			return at, nil
		}
	}
	return "", errPageToken
}

var errPageToken = rpc.Invalid(rpc.Violation{Field: "page_token", Reason: "is not one that this list, with these filters, gave"}).Err()

// placeSum is the size of the sum over the list, its filters and a place in it.
const placeSum = 8

// token is for the page that begins after a place.
func (l listing) token(place string) string {
	sum := sha256.Sum256([]byte(l.question + "\x00" + place))
	return base64.RawURLEncoding.EncodeToString(append(sum[:placeSum], place...))
}

// page cuts off what was read beyond the page, and gives the token for it.
func page[T any](l listing, all []T, place func(T) string) ([]T, string) {
	if len(all) <= l.size {
		return all, ""
	}
	all = all[:l.size]
	return all, l.token(place(all[l.size-1]))
}
