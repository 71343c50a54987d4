package rpc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// ErrUnknownKey is what an Authenticator returns for a key that it does not know, or no longer.
var ErrUnknownKey = errors.New("unknown key")

// Role is what a key may do; each service names its own.
type Role string

// AnyRole in a Policy admits every authenticated caller.
const AnyRole Role = "*"

// Roles is the set that may call one method.
type Roles []Role

// Policy maps full methods ("/hirewire.employee.v1.EmployeeService/GetEmployee") to the roles that may call them.
type Policy map[string]Roles

// Identity is an authenticated caller.
type Identity struct {
	Name  string // of the key, for logs and the audit
	Role  Role
	Owner string // whose objects the caller may see; empty when the role does not limit it
}

// Authenticator turns the key of "authorization: Bearer KEY" into an identity. An unknown key is ErrUnknownKey; any other
// error goes through the mapping of errors (a store that is down is UNAVAILABLE, not a refusal). It is called on every
// call, concurrently, and must be quick.
type Authenticator interface {
	Authenticate(ctx context.Context, key string) (Identity, error)
}

// IdentityFrom is the caller of the current call; ok is false outside the chain.
func IdentityFrom(ctx context.Context) (id Identity, ok bool) {
	if id, ok := ctx.Value(identityKey{}).(Identity); ok {
		return id, true
	}
	if cl, ok := ctx.Value(callKey{}).(*call); ok && cl.authenticated {
		return cl.identity, true
	}
	return Identity{}, false
}

// WithIdentity returns a context whose caller is id: for calls that start inside the process, such as a dashboard's, and for
// tests of handlers.
func WithIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

type identityKey struct{}

// authorize authenticates the caller and looks the method up in the policy.
func (c *Chain) authorize(ctx context.Context, t *table, cl *call) error {
	key, ok := bearer(ctx)
	if !ok {
		return errNoKey
	}
	id, err := c.auth.Authenticate(ctx, key)
	if errors.Is(err, ErrUnknownKey) {
		return errBadKey
	}
	if err != nil {
		return c.toStatus(ctx, cl, fmt.Errorf("authenticate: %w", err))
	}
	cl.identity, cl.authenticated = id, true
	m := t.methods[cl.name]
	if m == nil {
		return errForbidden
	}
	cl.method = m
	if slices.Contains(m.allowed, id.Role) || slices.Contains(m.allowed, AnyRole) {
		return nil
	}
	return errForbidden
}

// Admit tells whether a call that has only begun may go on: for a transport that knows the caller and the method before it
// reads the request. It refuses with the status with which the interceptors would, and counts what it refuses; what it lets
// through still passes them.
func (c *Chain) Admit(ctx context.Context, method string) (err error) {
	cl := newCall(ctx, method)
	defer func() {
		if r := recover(); r != nil {
			err = c.recovered(ctx, cl, r)
		}
		if err != nil {
			c.start(ctx, cl)
			c.finish(cl, err)
		}
	}()
	t := c.table.Load()
	if t == nil {
		return errStarting
	}
	return c.authorize(ctx, t, cl)
}

// keyInterval is how often the key of an open stream is looked at again.
const keyInterval = time.Second

// watch ends ctx with errBadKey once the call's key is no longer the identity that it was. An authenticator that cannot tell
// ends nothing.
func (c *Chain) watch(ctx context.Context, cl *call, end context.CancelCauseFunc) *sync.WaitGroup {
	key, _ := bearer(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(keyInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			id, err := c.auth.Authenticate(ctx, key)
			if errors.Is(err, ErrUnknownKey) || err == nil && id != cl.identity {
				end(errBadKey)
				return
			}
		}
	})
	return &watching
}

var (
	errNoKey     = status.Error(codes.Unauthenticated, "a key is needed: authorization: Bearer <key>")
	errBadKey    = status.Error(codes.Unauthenticated, "the key is not valid")
	errForbidden = status.Error(codes.PermissionDenied, "the key's role may not call this method")
)

// bearer is the key of the call's only authorization entry.
func bearer(ctx context.Context) (string, bool) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) != 1 {
		return "", false
	}
	const scheme = "bearer "
	v := values[0]
	if len(v) <= len(scheme) || !strings.EqualFold(v[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimSpace(v[len(scheme):]), true
}

// MinKeyLength is the shortest key that StaticKeys accepts, in characters.
const MinKeyLength = 24

// StaticKeys is an Authenticator over a fixed list, kept as SHA-256 digests.
type StaticKeys []staticKey

type staticKey struct {
	digest   [sha256.Size]byte
	identity Identity
}

var _ Authenticator = StaticKeys(nil)

// ParseStaticKeys reads "name:role:key,name:role:key". Errors name the entry, never its key.
func ParseStaticKeys(list string, roles ...Role) (StaticKeys, error) {
	var keys StaticKeys
	for i, entry := range strings.Split(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		name, rest, _ := strings.Cut(entry, ":")
		role, key, ok := strings.Cut(rest, ":")
		switch {
		case !ok || name == "" || role == "":
			return nil, fmt.Errorf("key %d: want name:role:key", i+1)
		case len(roles) > 0 && !slices.Contains(roles, Role(role)):
			return nil, fmt.Errorf("key %d (%s): unknown role %q, want one of %v", i+1, name, role, roles)
		case len(key) < MinKeyLength:
			return nil, fmt.Errorf("key %d (%s): a key has %d characters or more", i+1, name, MinKeyLength)
		}
		keys = append(keys, staticKey{sha256.Sum256([]byte(key)), Identity{Name: name, Role: Role(role)}})
	}
	return keys, nil
}

// StaticKey is one entry with an owner; join several with append.
func StaticKey(id Identity, key string) StaticKeys {
	return StaticKeys{{sha256.Sum256([]byte(key)), id}}
}

// Authenticate compares with every entry, so that the time it takes tells nothing.
func (keys StaticKeys) Authenticate(_ context.Context, key string) (Identity, error) {
	digest := sha256.Sum256([]byte(key))
	found := -1
	for i := range keys {
		if subtle.ConstantTimeCompare(digest[:], keys[i].digest[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Identity{}, ErrUnknownKey
	}
	return keys[found].identity, nil
}
