package webhook

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

const (
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"
	// ed25519Text is the length of an Ed25519 signature in standard base64.
	ed25519Text = 88
)

// PrivateKey signs with Ed25519 ("v1a"). Only the sender holds it. Like
// [Secret] it prints as "***".
type PrivateKey struct{ load func() ed25519.PrivateKey }

func newPrivateKey(key ed25519.PrivateKey) PrivateKey {
	return PrivateKey{load: func() ed25519.PrivateKey { return key }}
}

// key returns nil for the zero PrivateKey. About the function see [Secret].
func (k PrivateKey) key() ed25519.PrivateKey {
	if k.load == nil {
		return nil
	}
	return k.load()
}

// PublicKey verifies what the [PrivateKey] of its pair signed. It is no secret,
// but a receiver must have it from a place that it trusts, never from the
// request itself.
type PublicKey struct{ raw string }

// NewPrivateKey makes a random key.
func NewPrivateKey() PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic("crypto/rand failed: " + err.Error()) // It ends the program before it fails.
	}
	return newPrivateKey(key)
}

// ParsePrivateKey reads "whsk_" and the base64 of the 32-byte seed followed by
// the 32-byte public key, which must belong to the seed.
func ParsePrivateKey(text string) (PrivateKey, error) {
	raw, err := decodeKey(strings.TrimPrefix(text, privatePrefix))
	if err != nil {
		return PrivateKey{}, err
	}
	if len(raw) != ed25519.PrivateKeySize {
		return PrivateKey{}, invalidKey("a private key has 64 bytes")
	}
	if allZero(raw[:ed25519.SeedSize]) {
		return PrivateKey{}, invalidKey("the seed is all zero")
	}
	key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if !key.Equal(ed25519.PrivateKey(raw)) {
		return PrivateKey{}, invalidKey("the two halves of the private key do not belong together")
	}
	return newPrivateKey(key), nil
}

// ParsePublicKey reads "whpk_" and the base64 of 32 bytes. The few keys of small
// order, all-zero among them, are refused: signatures that fit them can be
// forged without a private key.
func ParsePublicKey(text string) (PublicKey, error) {
	raw, err := decodeKey(strings.TrimPrefix(text, publicPrefix))
	if err != nil {
		return PublicKey{}, err
	}
	if len(raw) != ed25519.PublicKeySize {
		return PublicKey{}, invalidKey("a public key has 32 bytes")
	}
	if smallOrder(raw) {
		return PublicKey{}, invalidKey("the public key has small order")
	}
	return PublicKey{raw: string(raw)}, nil
}

// smallOrderPoints are the y coordinates of the points of order 1, 2, 4 and 8
// on Curve25519's Edwards form, with the two that are not reduced.
var smallOrderPoints = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
}

func smallOrder(raw []byte) bool {
	y := [ed25519.PublicKeySize]byte(raw)
	y[31] &= 0x7f // the top bit is the sign of x
	text := hex.EncodeToString(y[:])
	return slices.Contains(smallOrderPoints, text)
}

// Public returns the other half of the pair.
func (k PrivateKey) Public() PublicKey {
	key := k.key()
	if key == nil {
		return PublicKey{}
	}
	return PublicKey{raw: string(key[ed25519.SeedSize:])}
}

// Reveal returns the key in its text form, "whsk_…".
func (k PrivateKey) Reveal() string {
	if k.IsZero() {
		return ""
	}
	return privatePrefix + base64.StdEncoding.EncodeToString(k.key())
}

// IsZero reports whether k is the zero PrivateKey, which signs nothing.
func (k PrivateKey) IsZero() bool { return k.load == nil }

// String returns "***".
func (k PrivateKey) String() string { return redacted }

// Format prints "***" for every verb.
func (k PrivateKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText gives "***", and so do JSON, XML and YAML.
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue gives "***".
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// String returns the key in its text form, "whpk_…".
func (k PublicKey) String() string {
	if k.raw == "" {
		return ""
	}
	return publicPrefix + base64.StdEncoding.EncodeToString([]byte(k.raw))
}

// MarshalText returns the key in its text form.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// IsZero reports whether k is the zero PublicKey, which verifies nothing.
func (k PublicKey) IsZero() bool { return k.raw == "" }
