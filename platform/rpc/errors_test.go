package rpc_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/platform/internal/testpb"
	"hirewire.dev/platform/rpc"
	"hirewire.dev/platform/sqldb"
)

func TestErrorMapping(t *testing.T) {
	const planted = "planted-4711"
	for _, tt := range []struct {
		name    string
		err     error
		want    codes.Code
		message string
		logged  int
	}{
		{"the domain's", fmt.Errorf("create: %w", errTaken), codes.AlreadyExists, "the name is taken", 0},
		{"a status of the handler's own", status.Error(codes.NotFound, "no such thing"), codes.NotFound, "no such thing", 0},
		{"another service's status", fmt.Errorf("fetch: %w", status.Error(codes.NotFound, planted)), codes.Internal, "internal error", 1},
		{"an internal status", status.Error(codes.Internal, planted), codes.Internal, "internal error", 1},
		{"unknown", errors.New(planted), codes.Internal, "internal error", 1},
		{"a deadline", fmt.Errorf("query: %w", context.DeadlineExceeded), codes.DeadlineExceeded, "the call took too long", 0},
		{"a cancellation", fmt.Errorf("query: %w", context.Canceled), codes.Canceled, "the caller went away", 0},
		{"a database that is away", fmt.Errorf("query: %w", driver.ErrBadConn), codes.Unavailable, "the storage is not available: repeat the call", 1},
		{"an unknown outcome", fmt.Errorf("store: %w", &sqldb.AmbiguousError{Err: errors.New(planted)}), codes.Unavailable, "the storage is not available: repeat the call", 1},
		{"a full disk", fmt.Errorf("insert: %w", &pq.Error{Code: "53100", Message: planted}), codes.ResourceExhausted, "the storage is full", 1},
		{"a conflict that retries did not resolve", fmt.Errorf("insert: %w", &pq.Error{Code: "40001"}), codes.Aborted, "the call met another one on the same data: repeat it", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := start(t, &things{create: func(context.Context, *testpb.CreateThingRequest) (*testpb.Thing, error) { return nil, tt.err }}, nil)
			_, err := h.CreateThing(as(t.Context(), writerKey), valid())
			st := wantCode(t, err, tt.want)
			if st.Message() != tt.message {
				t.Errorf("message %q", st.Message())
			}
			if tt.want == codes.Unavailable {
				info, ok := st.Details()[0].(*errdetails.RetryInfo)
				if !ok || info.GetRetryDelay().AsDuration() < time.Second {
					t.Errorf("details %v", st.Details())
				}
			}
			if n := strings.Count(h.logs.String(), "\n"); n != tt.logged {
				t.Errorf("%d log lines: %s", n, h.logs)
			}
			if tt.logged > 0 && !strings.Contains(h.logs.String(), "request_id") {
				t.Error("the line does not name the request")
			}
		})
	}
}

func TestInvalidNamesTheFirstFieldAndListsAll(t *testing.T) {
	st := rpc.Invalid(rpc.Violation{Field: "employee.email", Reason: "not an address"}, rpc.Violation{Field: "b", Reason: "c"})
	if st.Message() != "employee.email: not an address (and 1 more)" || len(st.Details()) != 1 {
		t.Errorf("%v", st)
	}
}

func TestParseStaticKeys(t *testing.T) {
	for _, tt := range []struct{ name, list, want string }{
		{"good", "a:writer:" + writerKey + ", b:reader:" + readerKey, ""},
		{"empty", "", ""},
		{"a colon in the key", "a:writer:abcdefgh:ijklmnopqrstuvwxyz", ""},
		{"no key", "a:writer", "key 1: want name:role:key"},
		{"no name", ":writer:" + writerKey, "key 1: want name:role:key"},
		{"short", "a:writer:" + writerKey + ",b:reader:short-secret", "key 2 (b): a key has 24 characters or more"},
		{"role", "a:owner:" + writerKey, `key 1 (a): unknown role "owner", want one of [writer reader]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := rpc.ParseStaticKeys(tt.list, "writer", "reader")
			if got := fmt.Sprint(err); tt.want != "" && got != tt.want || tt.want == "" && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
	keys, err := rpc.ParseStaticKeys("a:writer:abcdefgh:ijklmnopqrstuvwxyz")
	if err != nil {
		t.Fatal(err)
	}
	if id, err := keys.Authenticate(t.Context(), "abcdefgh:ijklmnopqrstuvwxyz"); err != nil || id.Name != "a" {
		t.Errorf("%v %v", id, err)
	}
}
