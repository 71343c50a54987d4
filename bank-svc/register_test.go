package banksvc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"hirewire.dev/platform/id"
	"hirewire.dev/platform/settings"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

// notifier is a stand-in that keeps one subscription and challenges whoever is at its URL.
type notifier struct {
	notifierv1.UnimplementedSubscriptionServiceServer

	addr   settings.Addr
	client *http.Client

	mu    sync.Mutex
	sub   *notifierv1.Subscription
	calls []string
}

func newNotifier(t *testing.T) *notifier {
	t.Helper()
	n := &notifier{client: newClient()}
	t.Cleanup(n.client.CloseIdleConnections)
	n.addr = serveGRPC(t, func(s *grpc.Server) { notifierv1.RegisterSubscriptionServiceServer(s, n) })
	return n
}

func (n *notifier) lock(ctx context.Context, call string) (unlock func()) {
	n.mu.Lock()
	key := metadata.ValueFromIncomingContext(ctx, "authorization")
	n.calls = append(n.calls, fmt.Sprint(call, len(key)))
	return n.mu.Unlock
}

func (n *notifier) ListSubscriptions(ctx context.Context, _ *notifierv1.ListSubscriptionsRequest) (*notifierv1.ListSubscriptionsResponse, error) {
	defer n.lock(ctx, "list")()
	if n.sub == nil {
		return &notifierv1.ListSubscriptionsResponse{}, nil
	}
	return &notifierv1.ListSubscriptionsResponse{Subscriptions: []*notifierv1.Subscription{proto.CloneOf(n.sub)}}, nil
}

func (n *notifier) GetSubscription(ctx context.Context, _ *notifierv1.GetSubscriptionRequest) (*notifierv1.Subscription, error) {
	defer n.lock(ctx, "get")()
	if n.sub == nil {
		return nil, status.Error(codes.NotFound, "no such subscription")
	}
	return proto.CloneOf(n.sub), nil
}

func (n *notifier) CreateSubscription(ctx context.Context, req *notifierv1.CreateSubscriptionRequest) (*notifierv1.Subscription, error) {
	defer n.lock(ctx, "create")()
	if n.sub == nil {
		n.sub = proto.CloneOf(req.Subscription)
		n.sub.Id, n.sub.Status = id.New("sub"), notifierv1.Subscription_PENDING_VERIFICATION
	}
	return proto.CloneOf(n.sub), nil
}

func (n *notifier) VerifySubscription(ctx context.Context, _ *notifierv1.VerifySubscriptionRequest) (*notifierv1.Subscription, error) {
	defer n.lock(ctx, "verify")()
	if err := n.challenge(ctx); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	n.sub.Status = notifierv1.Subscription_ACTIVE
	return proto.CloneOf(n.sub), nil
}

// challenge asks whoever is at the URL to prove that it holds the secret.
func (n *notifier) challenge(ctx context.Context) error {
	secret, err := webhook.ParseSecret(n.sub.Secret)
	if err != nil {
		return err
	}
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		return err
	}
	eventID, challenge, at := id.New("evt"), webhook.NewChallenge(), time.Now()
	body := fmt.Appendf(nil, `{"id":%q,"type":"webhook.verification","timestamp":%q,"data":{"challenge":%q}}`, eventID, at.UTC().Format(time.RFC3339Nano), challenge)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.sub.Url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Webhook-Id", eventID)
	req.Header.Set("Webhook-Timestamp", fmt.Sprint(at.Unix()))
	req.Header.Set("Webhook-Signature", signer.Sign(eventID, at, body))
	res, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%d: %w", res.StatusCode, err)
	}
	return webhook.CheckChallengeResponse(secret, challenge, reply)
}

func (n *notifier) subscription() *notifierv1.Subscription {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sub == nil {
		return nil
	}
	return proto.CloneOf(n.sub)
}

func (n *notifier) active() bool {
	return n.subscription().GetStatus() == notifierv1.Subscription_ACTIVE
}

// A bank with nothing but its neighbours' addresses makes its secret, its subscription, and answers the challenge; after a
// restart it finds all of that again.
func TestRegistersItself(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		n, tr := newNotifier(t), newTruth(t)
		early := person("Ada Byron")
		tr.set(early) // hired before there was a subscription
		change := func(c *Config) {
			c.Register, c.NotifierAddr, c.EmployeeAddr, c.WebhookSecrets = true, n.addr, tr.addr, nil
		}
		b := start(t, url, change)
		await(t, "active subscription", n.active)
		first := n.subscription()
		if first.Url != "https://"+b.HTTPAddr()+WebhookPath || first.Name != "Test Bank" || first.Payload != notifierv1.Subscription_FULL {
			t.Errorf("%v", first)
		}
		await(t, "account of the one who was there before", func() bool { return b.accounts(t)[early.ID] != nil })
		secret, err := webhook.ParseSecret(first.Secret)
		if err != nil {
			t.Fatal(err)
		}
		b.secret = secret
		b.mustSend(t, created(person("Bo Ek")))
		addr := b.HTTPAddr()
		b.stop()
		again := start(t, url, func(c *Config) { change(c); c.HTTPAddr = settings.Addr(addr) })
		again.secret = secret
		again.mustSend(t, created(person("Cy Oh")))
		if sub := n.subscription(); sub.Id != first.Id || sub.Secret != first.Secret {
			t.Errorf("%v", sub)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, call := range n.calls {
			if call[len(call)-1] != '1' {
				t.Errorf("without a key: %s", call)
			}
		}
	})
}
