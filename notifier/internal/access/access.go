// Package access says who may call: API keys, their roles, and the callers that they stand for.
package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"hirewire.dev/notifier/internal/audit"
)

// Role is what a caller may do.
type Role string

// The roles.
const (
	Admin     Role = "admin"     // everything
	Publisher Role = "publisher" // publish events
	Bank      Role = "bank"      // its own subscriptions, and what concerns them
	Viewer    Role = "viewer"    // read everything, change nothing
)

// Roles are all of them.
var Roles = []Role{Admin, Publisher, Bank, Viewer}

// Caller is who makes a call.
type Caller struct {
	// Name of the API key.
	Name string
	Role Role
	// Owner is whose objects the caller may see; empty: everybody's.
	Owner string
	// CallID names the call in logs and the audit.
	CallID string
}

// Sees says whether what owner owns is there for the caller.
func (c Caller) Sees(owner string) bool { return c.Owner == "" || c.Owner == owner }

// Key lets one caller in. The secret itself is never stored.
type Key struct {
	ID        string
	Name      string
	Role      Role
	Hash      [sha256.Size]byte // of the secret
	CreatedAt time.Time
	RevokedAt time.Time // zero while in force
}

// Owner is whose objects the key's holder may see; empty: everybody's.
func (k Key) Owner() string { return Owner(k.Role, k.Name) }

// Owner is whose objects a caller with this role and name may see.
func Owner(role Role, name string) string {
	if role == Bank {
		return name
	}
	return ""
}

// Hash is how a secret is stored and looked up. Secrets are long and random, so one round of SHA-256 is enough.
func Hash(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// The errors of this package, besides InvalidError.
var (
	ErrNotFound = errors.New("no such API key")
	// ErrNameTaken means that a key in force has the name already.
	ErrNameTaken = errors.New("a key in force has this name")
	// ErrSecretTaken means that a key has this secret already; whose is not told.
	ErrSecretTaken = errors.New("this secret cannot be used")
	// ErrRequestReused means that the request id was used for another call.
	ErrRequestReused = errors.New("the request id was used with other content")
	// ErrUnknownKey means that no key in force has this secret.
	ErrUnknownKey = errors.New("unknown key")
)

// InvalidError is a field of a request that is not as it must be.
type InvalidError struct{ Field, Reason string }

// Error names the field and the reason.
func (e *InvalidError) Error() string { return e.Field + ": " + e.Reason }

// Request is a client's own name for a call, so that a retry of it changes nothing.
type Request struct {
	// Actor is the caller's name: request ids of different callers are independent.
	Actor string
	// ID is what the client chose; empty: the call is not to be recognised.
	ID string
	// Content is a digest of what was asked; another one under the same id is ErrRequestReused.
	Content [sha256.Size]byte
	// Resource is the id of what the call made.
	Resource string
	// SealKey and Sealed hold the secret that the call made up, for as long as it may be shown again.
	SealKey string
	Sealed  []byte
	At      time.Time
}

// Subject is what the request's secret is sealed for.
func (r Request) Subject() string { return "request/" + r.Resource }

// SecretShownFor is how long a retried request shows a secret once more.
const SecretShownFor = 24 * time.Hour

// Store keeps keys. Implementations are safe for concurrent use.
type Store interface {
	// CreateKey stores the key, the request and the audit entry: all or nothing. If the request was made before it stores
	// nothing and answers with the request as it was then.
	//
	// Errors: ErrNameTaken, ErrSecretTaken.
	CreateKey(ctx context.Context, k Key, r Request, e audit.Entry) (before *Request, err error)
	// Key is one key. Errors: ErrNotFound.
	Key(ctx context.Context, id string) (Key, error)
	// Keys are at most limit keys with ids after after, in order.
	Keys(ctx context.Context, after string, limit int) ([]Key, error)
	// RevokeKey ends a key and writes the entry that describe makes; a key that has ended already is left as it is.
	// Errors: ErrNotFound.
	RevokeKey(ctx context.Context, id string, at time.Time, describe func(Key) audit.Entry) (Key, error)
	// KeysSince are the keys that were made or revoked after the change since, and the number of a change that they are not
	// older than.
	KeysSince(ctx context.Context, since int64) (last int64, keys []Key, err error)
	// LastChange is the number of the last change: it grows with every change to a key.
	LastChange(ctx context.Context) (int64, error)
}

// Sealer encrypts for storage; subject binds the result to what it belongs to.
type Sealer interface {
	Seal(ctx context.Context, subject, plaintext string) (keyID string, sealed []byte, err error)
	Open(ctx context.Context, subject, keyID string, sealed []byte) (plaintext string, err error)
}

// MinSecretLength is the shortest secret that is taken, in characters.
const MinSecretLength = 24

const maxSecretLength = 256

var nameRule = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Check reports what is wrong with a key's name and role.
func Check(name string, role Role) error {
	switch {
	case !nameRule.MatchString(name):
		return &InvalidError{"name", "must be 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"}
	case name == audit.Notifier:
		return &InvalidError{"name", "is reserved"}
	case !slices.Contains(Roles, role):
		return &InvalidError{"role", fmt.Sprintf("must be one of %v", Roles)}
	}
	return nil
}

// CheckSecret reports what is wrong with a secret that a caller chose. The error never repeats it.
func CheckSecret(secret string) error {
	if len(secret) < MinSecretLength || len(secret) > maxSecretLength {
		return &InvalidError{"secret", fmt.Sprintf("must have %d to %d characters", MinSecretLength, maxSecretLength)}
	}
	for _, c := range []byte(secret) {
		if c <= ' ' || c > '~' {
			return &InvalidError{"secret", "must be printable ASCII without spaces"}
		}
	}
	return nil
}
