package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"strings"
	"sync"
)

const (
	secretPrefix  = "whsec_"
	minSecret     = 24
	maxSecret     = 64
	newSecretSize = 32

	redacted = "***"
	// macText is the length of an HMAC-SHA256 in standard base64.
	macText = 44
)

// ErrInvalidKey is what every refusal to parse a secret or a key matches. The
// error never repeats the text that was refused.
var ErrInvalidKey = errors.New("invalid webhook key")

func invalidKey(why string) error { return fmt.Errorf("%w: %s", ErrInvalidKey, why) }

// Secret is a shared HMAC-SHA256 key ("v1"). Its zero value signs and verifies
// nothing. Printing, logging or marshalling it gives "***"; only [Secret.Reveal]
// gives the key away. It is safe for concurrent use.
type Secret struct{ load func() *hmacKey }

// key returns nil for the zero Secret. The key sits behind a function, since
// fmt calls no method of an unexported field and follows pointers when a verb
// does not fit: of a function it can print an address only.
func (s Secret) key() *hmacKey {
	if s.load == nil {
		return nil
	}
	return s.load()
}

type hmacKey struct {
	raw    []byte
	states sync.Pool
}

// hmacState is one prepared HMAC with the buffers that its calls write through.
// Pooled per key: the two key blocks are hashed once, and nothing is allocated
// for each signature.
type hmacState struct {
	mac  hash.Hash
	head []byte
	sum  []byte
}

func newSecret(raw []byte) Secret {
	k := &hmacKey{raw: raw}
	k.states.New = func() any { return &hmacState{mac: hmac.New(sha256.New, k.raw)} }
	return Secret{load: func() *hmacKey { return k }}
}

// NewSecret makes a secret of 32 random bytes.
func NewSecret() Secret {
	raw := make([]byte, newSecretSize)
	rand.Read(raw) // never fails: it ends the program instead
	return newSecret(raw)
}

// ParseSecret reads the text form of a secret: "whsec_" (which Standard Webhooks
// lets a sender leave out) and the standard base64, padded, of 24 to 64 bytes
// that are not all zero.
func ParseSecret(text string) (Secret, error) {
	raw, err := decodeKey(strings.TrimPrefix(text, secretPrefix))
	if err != nil {
		return Secret{}, err
	}
	if len(raw) < minSecret || len(raw) > maxSecret {
		return Secret{}, invalidKey("a secret has 24 to 64 bytes")
	}
	if allZero(raw) {
		return Secret{}, invalidKey("the secret is all zero")
	}
	return newSecret(raw), nil
}

// decodeKey is strict base64. The standard decoder skips line breaks, so they
// are refused first.
func decodeKey(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, invalidKey("line break in base64")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, invalidKey("not the expected prefix and standard base64")
	}
	return raw, nil
}

func allZero(b []byte) bool {
	return bytes.Count(b, []byte{0}) == len(b)
}

// Reveal returns the secret in its text form, "whsec_…". Show it once, store it
// encrypted, never log it.
func (s Secret) Reveal() string {
	key := s.key()
	if key == nil {
		return ""
	}
	return secretPrefix + base64.StdEncoding.EncodeToString(key.raw)
}

// IsZero reports whether s is the zero Secret, which signs and verifies nothing.
func (s Secret) IsZero() bool { return s.load == nil }

// Equal compares two secrets in constant time.
func (s Secret) Equal(other Secret) bool {
	a, b := s.key(), other.key()
	if a == nil || b == nil {
		return a == b
	}
	return subtle.ConstantTimeCompare(a.raw, b.raw) == 1
}

// String returns "***".
func (s Secret) String() string { return redacted }

// Format prints "***" for every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText gives "***", and so do JSON, XML and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue gives "***".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// appendMAC appends the base64 of HMAC-SHA256 over "{id}.{unix}.{body}".
func (k *hmacKey) appendMAC(dst []byte, id string, unix int64, body []byte) []byte {
	st := k.states.Get().(*hmacState) //nolint:forcetypeassert // the pool's New makes nothing else.
	st.head = appendHead(st.head[:0], id, unix)
	st.mac.Reset()
	st.mac.Write(st.head)
	st.mac.Write(body)
	st.sum = st.mac.Sum(st.sum[:0])
	dst = base64.StdEncoding.AppendEncode(dst, st.sum)
	k.states.Put(st)
	return dst
}

// appendMACOf appends the base64 of HMAC-SHA256 over text alone.
func (k *hmacKey) appendMACOf(dst []byte, text string) []byte {
	st := k.states.Get().(*hmacState) //nolint:forcetypeassert // the pool's New makes nothing else.
	st.head = append(st.head[:0], text...)
	st.mac.Reset()
	st.mac.Write(st.head)
	st.sum = st.mac.Sum(st.sum[:0])
	dst = base64.StdEncoding.AppendEncode(dst, st.sum)
	k.states.Put(st)
	return dst
}
