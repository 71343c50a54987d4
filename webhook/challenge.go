package webhook

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
)

// maxChallenge bounds what a receiver signs for a challenge.
const maxChallenge = 256

// ErrChallenge is what every wrong answer to a challenge matches.
var ErrChallenge = errors.New("wrong answer to the challenge")

// NewChallenge makes the text that a sender puts into data.challenge of a
// [TypeVerification] event, to learn whether whoever answers at a URL holds the
// secret.
func NewChallenge() string { return "chl_" + rand.Text() }

// CheckChallengeResponse decides whether body is the right answer:
// {"challenge": the same, "response": "v1,<base64 HMAC-SHA256(secret, challenge)>"}.
// During a rotation the receiver may hold any of the secrets in force: try each.
func CheckChallengeResponse(secret Secret, challenge string, body []byte) error {
	if secret.IsZero() || !validChallenge(challenge) {
		return ErrChallenge
	}
	var echoed, response string
	err := scanObject(body, func(name, value []byte) (err error) {
		switch string(name) {
		case "challenge":
			echoed, err = textField("challenge", value, validChallenge)
		case "response":
			response, err = textField("response", value, func(string) bool { return true })
		}
		return err
	})
	if err != nil || echoed != challenge {
		return ErrChallenge
	}
	want := secret.key().appendMACOf([]byte("v1,"), challenge)
	if subtle.ConstantTimeCompare(want, []byte(response)) != 1 {
		return ErrChallenge
	}
	return nil
}

// appendChallengeResponse writes the answer. Without a secret, which is a
// receiver that holds public keys only, the response stays empty.
func appendChallengeResponse(dst []byte, secret Secret, challenge string) []byte {
	dst = append(dst, `{"challenge":"`...)
	dst = append(dst, challenge...)
	dst = append(dst, `","response":"`...)
	if !secret.IsZero() {
		dst = secret.key().appendMACOf(append(dst, "v1,"...), challenge)
	}
	return append(dst, `"}`...)
}

// parseChallenge takes data.challenge out of a verification event.
func parseChallenge(data []byte) (string, error) {
	var challenge string
	err := scanObject(data, func(name, value []byte) (err error) {
		if string(name) == "challenge" {
			challenge, err = textField("data.challenge", value, validChallenge)
		}
		return err
	})
	if err == nil && challenge == "" {
		err = &Error{Reason: ReasonMissingField, Detail: "data.challenge"}
	}
	return challenge, err
}

// validChallenge allows ids, UUIDs, hexadecimal and both forms of base64, and
// no dot: so the answer can never be the signature of a message, in which dots
// part id, timestamp and body. Nor does it need escaping in JSON.
func validChallenge(text string) bool {
	if text == "" || len(text) > maxChallenge {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case isIDByte(c), c == '+', c == '/', c == '=':
		default:
			return false
		}
	}
	return true
}
