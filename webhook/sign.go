package webhook

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// SigningKey is a [Secret] or a [PrivateKey].
type SigningKey interface {
	IsZero() bool
	appendSignature(dst []byte, id string, unix int64, body []byte) []byte
}

var (
	_ SigningKey = Secret{}
	_ SigningKey = PrivateKey{}
)

// Signer makes the webhook-signature header. Build one for each subscription and
// keep it: its keys are parsed and prepared once. It is safe for concurrent use.
type Signer struct{ keys []SigningKey }

// NewSigner takes the keys in force, newest first: one, or during a rotation
// several, up to [MaxSignatures]. The header carries a signature by each.
func NewSigner(keys ...SigningKey) (*Signer, error) {
	if len(keys) == 0 {
		return nil, errors.New("a signer needs a key")
	}
	if len(keys) > MaxSignatures {
		return nil, fmt.Errorf("%d keys, and a header may carry %d signatures", len(keys), MaxSignatures)
	}
	for _, k := range keys {
		if k == nil || k.IsZero() {
			return nil, errors.New("a signing key is empty")
		}
	}
	return &Signer{keys: append([]SigningKey(nil), keys...)}, nil
}

// Sign returns the webhook-signature header for one attempt: the message's id,
// the time of this attempt and the exact bytes of the body. It returns "" for
// an id that [ValidID] refuses: a dot in it would let one signature stand for two
// messages.
func (s *Signer) Sign(id string, at time.Time, body []byte) string {
	return string(s.AppendSign(make([]byte, 0, len(s.keys)*(macText+4)), id, at, body))
}

// AppendSign is [Signer.Sign] into a buffer of the caller.
func (s *Signer) AppendSign(dst []byte, id string, at time.Time, body []byte) []byte {
	unix := at.Unix()
	if !ValidID(id) {
		return dst
	}
	for i, k := range s.keys {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = k.appendSignature(dst, id, unix, body)
	}
	return dst
}

func (s Secret) appendSignature(dst []byte, id string, unix int64, body []byte) []byte {
	return s.key().appendMAC(append(dst, "v1,"...), id, unix, body)
}

func (k PrivateKey) appendSignature(dst []byte, id string, unix int64, body []byte) []byte {
	buf := getMessage(id, unix, body)
	dst = base64.StdEncoding.AppendEncode(append(dst, "v1a,"...), ed25519.Sign(k.key(), *buf))
	putMessage(buf)
	return dst
}

// appendHead appends what is signed before the body: "{id}.{unix}.".
func appendHead(dst []byte, id string, unix int64) []byte {
	dst = append(append(dst, id...), '.')
	return append(strconv.AppendInt(dst, unix, 10), '.')
}

// messages holds buffers for Ed25519, which needs the signed text in one piece.
var messages = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled keeps one large body from staying in memory for good.
const maxPooled = 64 << 10

func getMessage(id string, unix int64, body []byte) *[]byte {
	buf := messages.Get().(*[]byte) //nolint:forcetypeassert // the pool's New makes nothing else.
	*buf = append(appendHead((*buf)[:0], id, unix), body...)
	return buf
}

func putMessage(buf *[]byte) {
	if cap(*buf) <= maxPooled {
		messages.Put(buf)
	}
}
