package webhook

import (
	"bytes"
	"crypto/ed25519"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// Kind is the version of a signature.
type Kind string

const (
	// KindHMAC is HMAC-SHA256 with a [Secret].
	KindHMAC Kind = "v1"
	// KindEd25519 is Ed25519 with a [PrivateKey].
	KindEd25519 Kind = "v1a"
)

// Verifier checks signatures. With no key it refuses everything. It may be used
// concurrently as long as nobody changes its fields.
type Verifier struct {
	// Secrets and PublicKeys are trusted equally; during a rotation the old one
	// stays beside the new one.
	Secrets    []Secret
	PublicKeys []PublicKey
	// Tolerance bounds the age of a message and the lead of its clock.
	// 0 means [DefaultTolerance].
	Tolerance time.Duration
	// Now is for published test vectors, whose time has passed. nil is time.Now.
	Now func() time.Time
}

// Verification is what a good signature proves.
type Verification struct {
	// ID is the webhook-id: the same on each attempt, so the key to
	// deduplicate by.
	ID string
	// SentAt is the time of this attempt.
	SentAt time.Time
	// Kind is the kind of signature that matched.
	Kind Kind

	secret Secret // the one that matched; zero for KindEd25519
}

// Verify checks that body is, byte for byte, what a holder of one of the keys
// signed within the tolerance. A refusal is an [*Error].
//
// There must be exactly one webhook-id, webhook-timestamp and webhook-signature.
// Signatures of unknown versions are skipped; the others are compared in
// constant time, as canonical standard base64.
func (v *Verifier) Verify(h http.Header, body []byte) (Verification, error) {
	env, err := v.open(h)
	if err != nil {
		return Verification{}, err
	}
	return v.match(env, body)
}

// envelope is the three headers after their form was checked.
type envelope struct {
	id         string
	unix       int64
	signatures string
}

// open checks all that can be checked without the body, so that junk is refused
// before its body is read.
func (v *Verifier) open(h http.Header) (envelope, error) {
	var env envelope
	id, err := single(h, HeaderID, "webhook-id")
	if err != nil {
		return env, err
	}
	timestamp, err := single(h, HeaderTimestamp, "webhook-timestamp")
	if err != nil {
		return env, err
	}
	signatures, err := single(h, HeaderSignature, "webhook-signature")
	if err != nil {
		return env, err
	}
	if !ValidID(id) {
		return env, &Error{Reason: ReasonMalformedID}
	}
	unix, ok := parseTimestamp(timestamp)
	if !ok {
		return env, &Error{Reason: ReasonMalformedTimestamp}
	}
	if err := v.checkAge(unix); err != nil {
		return env, err
	}
	if strings.Count(signatures, " ") >= MaxSignatures {
		return env, &Error{Reason: ReasonTooManySignatures}
	}
	return envelope{id: id, unix: unix, signatures: signatures}, nil
}

func single(h http.Header, key, name string) (string, error) {
	switch values := h[key]; {
	case len(values) > 1:
		return "", &Error{Reason: ReasonDuplicateHeader, Detail: name}
	case len(values) == 0 || values[0] == "":
		return "", &Error{Reason: ReasonMissingHeader, Detail: name}
	default:
		return values[0], nil
	}
}

func (v *Verifier) checkAge(unix int64) error {
	tolerance := v.Tolerance
	if tolerance == 0 {
		tolerance = DefaultTolerance
	}
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	switch skew := time.Unix(unix, 0).Sub(now()); {
	case skew < -tolerance:
		return &Error{Reason: ReasonTooOld, Skew: skew.Round(time.Second)}
	case skew > tolerance:
		return &Error{Reason: ReasonTooNew, Skew: skew.Round(time.Second)}
	}
	return nil
}

// match tries each signature with each key of its kind.
func (v *Verifier) match(env envelope, body []byte) (Verification, error) {
	ver := Verification{ID: env.id, SentAt: time.Unix(env.unix, 0).UTC()}
	for _, secret := range v.Secrets {
		if secret.matches(env, body) {
			ver.Kind, ver.secret = KindHMAC, secret
			return ver, nil
		}
	}
	if len(v.PublicKeys) > 0 && v.matchesEd25519(env, body) {
		ver.Kind = KindEd25519
		return ver, nil
	}
	return Verification{}, &Error{Reason: v.diagnose(env, body)}
}

// matches compares in text form: the one canonical base64 of the expected MAC.
// A variant of it (URL alphabet, loose trailing bits, no padding) is no match.
func (s Secret) matches(env envelope, body []byte) bool {
	key := s.key()
	if key == nil {
		return false
	}
	var want, got [macText]byte
	key.appendMAC(want[:0], env.id, env.unix, body)
	for entry := range strings.SplitSeq(env.signatures, " ") {
		text, ok := strings.CutPrefix(entry, "v1,")
		if !ok || len(text) != macText {
			continue
		}
		copy(got[:], text)
		if subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
			return true
		}
	}
	return false
}

// matchesEd25519 verifies each well-formed v1a signature with each key, at most
// MaxSignatures times the number of keys.
func (v *Verifier) matchesEd25519(env envelope, body []byte) bool {
	message := getMessage(env.id, env.unix, body)
	defer putMessage(message)
	for entry := range strings.SplitSeq(env.signatures, " ") {
		text, ok := strings.CutPrefix(entry, "v1a,")
		if !ok {
			continue
		}
		signature, ok := decodeSignature(text, ed25519Text)
		if !ok {
			continue
		}
		for _, key := range v.PublicKeys {
			if !key.IsZero() && ed25519.Verify(ed25519.PublicKey(key.raw), *message, signature) {
				return true
			}
		}
	}
	return false
}

// decodeSignature is strict: the standard alphabet, padded, no line breaks, no
// stray bits. A text with line breaks in it would decode to fewer bytes.
func decodeSignature(text string, length int) ([]byte, bool) {
	if len(text) != length || strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	return raw, err == nil
}

// diagnose finds out, for the receiver's own log, what kind of mismatch it is.
func (v *Verifier) diagnose(env envelope, body []byte) Reason {
	var wellFormed, usable, foreign bool
	for entry := range strings.SplitSeq(env.signatures, " ") {
		version, text, ok := strings.Cut(entry, ",")
		switch {
		case !ok || version == "" || text == "":
		case version == string(KindHMAC):
			_, ok = decodeSignature(text, macText)
			wellFormed = wellFormed || ok
			usable = usable || ok && len(v.Secrets) > 0
		case version == string(KindEd25519):
			_, ok = decodeSignature(text, ed25519Text)
			wellFormed = wellFormed || ok
			usable = usable || ok && len(v.PublicKeys) > 0
		default:
			foreign = true
		}
	}
	switch {
	case !usable && (wellFormed || foreign):
		return ReasonUnknownVersion
	case !usable:
		return ReasonMalformedSignature
	case v.matchesChanged(env, body):
		return ReasonBodyChanged
	default:
		return ReasonNoMatch
	}
}

// maxDiagnosed bounds what a forged request can make us hash again.
const maxDiagnosed = 32 << 10

// matchesChanged tries the usual ways in which a body is changed between the
// signature and here. A match only names the fault; the request stays refused.
func (v *Verifier) matchesChanged(env envelope, body []byte) bool {
	if len(body) > maxDiagnosed {
		return false
	}
	trimmed := bytes.TrimSpace(body)
	variants := [][]byte{nil, trimmed, append(bytes.Clone(trimmed), '\n')}
	var compact bytes.Buffer
	if json.Compact(&compact, body) == nil {
		variants = append(variants, compact.Bytes())
	}
	for _, variant := range variants {
		if bytes.Equal(variant, body) {
			continue
		}
		for _, secret := range v.Secrets {
			if secret.matches(env, variant) {
				return true
			}
		}
	}
	return false
}
