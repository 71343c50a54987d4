// Package grpcapi serves the notifier's API: it turns messages into the words of the domain and back, and checks nothing that
// the domain checks.
package grpcapi

import (
	"context"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/platform/rpc"
)

// caller is who makes the call, as the chain of interceptors found out.
func caller(ctx context.Context) access.Caller {
	id, ok := rpc.IdentityFrom(ctx)
	if !ok {
		// Nobody gets here past the chain; whoever does sees nothing.
		return access.Caller{Name: "nobody", Role: access.Viewer, Owner: "\x00"}
	}
	return access.Caller{Name: id.Name, Role: access.Role(id.Role), Owner: id.Owner, CallID: rpc.RequestID(ctx)}
}

// Keys authenticates callers for the chain.
type Keys struct{ *access.Authenticator }

var _ rpc.Authenticator = Keys{}

// Authenticate implements rpc.Authenticator.
func (k Keys) Authenticate(ctx context.Context, key string) (rpc.Identity, error) {
	c, err := k.Caller(ctx, key)
	if err != nil {
		return rpc.Identity{}, keyError(err)
	}
	return rpc.Identity{Name: c.Name, Role: rpc.Role(c.Role), Owner: c.Owner}, nil
}
