package notifier_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// allowed is who may call what, method by method, written out once more: a change of the policy has to be made twice.
var allowed = map[string]string{
	"EventService/PublishEvents": "admin publisher", "EventService/GetEvent": "admin bank viewer",
	"EventService/ListEvents": "admin bank viewer", "EventService/ListEventTypes": "admin publisher bank viewer",
	"EventService/EraseEmployee": "admin",

	"SubscriptionService/CreateSubscription": "admin bank", "SubscriptionService/GetSubscription": "admin bank viewer",
	"SubscriptionService/ListSubscriptions": "admin bank viewer", "SubscriptionService/UpdateSubscription": "admin bank",
	"SubscriptionService/DeleteSubscription": "admin bank", "SubscriptionService/VerifySubscription": "admin bank",
	"SubscriptionService/PauseSubscription": "admin bank", "SubscriptionService/ResumeSubscription": "admin bank",
	"SubscriptionService/RotateSecret": "admin bank", "SubscriptionService/SendTestEvent": "admin bank",

	"DeliveryService/ListDeliveries": "admin bank viewer", "DeliveryService/GetDelivery": "admin bank viewer",
	"DeliveryService/RetryDelivery": "admin bank", "DeliveryService/CreateReplay": "admin bank",
	"DeliveryService/GetReplay": "admin bank viewer", "DeliveryService/CancelReplay": "admin bank",
	"DeliveryService/WatchDeliveries": "admin bank viewer", "DeliveryService/Listen": "admin bank",
	"DeliveryService/GetBalance": "admin bank viewer",

	"ApiKeyService/CreateApiKey": "admin", "ApiKeyService/ListApiKeys": "admin viewer", "ApiKeyService/RevokeApiKey": "admin",
	"AuditService/ListAuditEntries": "admin viewer",
}

// TestEveryMethodAsksForItsRole calls every method of the contract with no key, a wrong key, and a key of each role, with an
// empty request: whoever may call gets past the check, to whatever the method says to that.
func TestEveryMethodAsksForItsRole(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db"))
	callers := map[string]string{"admin": "admin", "publisher": "publisher", "viewer": "viewer", "bank": "bank-a"}
	seen := 0
	for _, service := range services(t) {
		for i := range service.Methods().Len() {
			m := service.Methods().Get(i)
			name := string(service.Name()) + "/" + string(m.Name())
			full := fmt.Sprintf("/%s/%s", service.FullName(), m.Name())
			roles, ok := allowed[name]
			if !ok {
				t.Errorf("%s: who may call it is not written down here", name)
				continue
			}
			seen++
			for _, key := range []string{"", "a-key-that-nobody-has-been-given"} {
				if code := status.Code(call(t, n.withKey(t, key).conn, full, m)); code != codes.Unauthenticated {
					t.Errorf("%s with key %q: %s", name, key, code)
				}
			}
			for role, keyName := range callers {
				code := status.Code(call(t, n.as(t, keyName).conn, full, m))
				may := strings.Contains(" "+roles+" ", " "+role+" ")
				if refused := code == codes.PermissionDenied || code == codes.Unauthenticated; refused == may {
					t.Errorf("%s as %s: %s; allowed: %v", name, role, code, may)
				}
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("%d methods are served, %d are written down", seen, len(allowed))
	}
}

func services(t *testing.T) []protoreflect.ServiceDescriptor {
	t.Helper()
	var out []protoreflect.ServiceDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage("hirewire.notifier.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			out = append(out, f.Services().Get(i))
		}
		return true
	})
	return out
}

// call sends one empty message and gives the error of the first answer. A stream that does not answer at once is open.
func call(t *testing.T, conn *grpc.ClientConn, full string, m protoreflect.MethodDescriptor) error {
	t.Helper()
	in, out := dynamicpb.NewMessage(m.Input()), dynamicpb.NewMessage(m.Output())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if !m.IsStreamingServer() {
		return conn.Invoke(ctx, full, in, out)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: m.IsStreamingClient()}, full)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(in); err != nil {
		return stream.RecvMsg(out)
	}
	result := make(chan error, 1)
	go func() { result <- stream.RecvMsg(out) }()
	timer := time.NewTimer(200 * time.Millisecond)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		cancel()
		<-result
		return nil
	}
}

func TestWhatAKeyLooksLike(t *testing.T) {
	n := start(t, config(t, "sqlite:"+t.TempDir()+"/n.db"))
	c := n.withKey(t, "")
	for name, values := range map[string][]string{
		"none": nil, "no scheme": {keys["admin"]}, "another scheme": {"Basic " + keys["admin"]}, "empty": {"Bearer "},
		"two": {"Bearer " + keys["admin"], "Bearer " + keys["admin"]}, "prefix of it": {"Bearer " + keys["admin"][:20]},
		"in upper case": {"Bearer " + strings.ToUpper(keys["admin"])},
	} {
		ctx := t.Context()
		for _, v := range values {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", v)
		}
		_, err := c.ListApiKeys(ctx, &notifierv1.ListApiKeysRequest{})
		wantCode(t, name, err, codes.Unauthenticated)
	}
}
