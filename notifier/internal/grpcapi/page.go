package grpcapi

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// The sizes of a page.
const (
	defaultPage = 50
	maxPage     = 1000
	// maxAnswer is when a page ends before it has as many entries as were asked for, in bytes: an answer has at most 1 MiB.
	maxAnswer = 900 << 10
)

// pageSize is how many the caller gets for asking for n.
func pageSize(n int32) int {
	if n <= 0 {
		return defaultPage
	}
	return int(min(n, maxPage))
}

// question is what a caller asks of a list, but for the page. A token leads on in the answers to the same question only,
// however long ago it was given.
type question string

// newQuestion is asked of the list, with what it is filtered by.
func newQuestion(list string, filter ...string) question {
	return question(fmt.Sprintf("%q %q", list, filter))
}

const sumSize = 8

// sum ties a place to the question, so that what was cut or changed is not taken for another place.
func (q question) sum(at string) string {
	sum := sha256.Sum256([]byte(string(q) + " " + at))
	return string(sum[:sumSize])
}

// token makes a token of where a page ended. Clients must not look inside.
func (q question) token(at string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(q.sum(at) + at))
}

// parse gives what token was given; the beginning for an empty token. valid says whether that can be such a place.
func (q question) parse(token string, valid func(at string) bool) (at string, err error) {
	if token == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err == nil && len(raw) > sumSize {
		if at = string(raw[sumSize:]); string(raw[:sumSize]) == q.sum(at) && valid(at) {
			return at, nil
		}
	}
	return "", invalidArgument("page_token", "is not from an answer to the same question")
}

// page makes the answer of a list that was read with one more than size, and gives the token for what follows.
func page[T any, M proto.Message](q question, list []T, size int, id func(T) string, toProto func(T) (M, error)) (out []M, next string, err error) {
	bytes := 0
	for i, entry := range list {
		m, err := toProto(entry)
		if err != nil {
			return nil, "", err
		}
		bytes += proto.Size(m)
		if i == size || i > 0 && bytes > maxAnswer {
			return out, q.token(id(list[i-1])), nil
		}
		out = append(out, m)
	}
	return out, "", nil
}

// always is a conversion that cannot fail.
func always[T any, M proto.Message](toProto func(T) M) func(T) (M, error) {
	return func(entry T) (M, error) { return toProto(entry), nil }
}
