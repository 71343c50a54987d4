package register

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"hirewire.dev/bank-svc/internal/sqlstore"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

// notifier keeps subscriptions in memory, and sends its challenge to whoever verify stands for.
type notifier struct {
	notifierv1.SubscriptionServiceClient

	mu       sync.Mutex
	subs     map[string]*notifierv1.Subscription
	requests map[string]string
	calls    []string
	down     bool
	lose     int // replies to lose after the work was done
	deaf     int // challenges that fail
}

func newNotifier() *notifier {
	return &notifier{subs: map[string]*notifierv1.Subscription{}, requests: map[string]string{}}
}

func (n *notifier) call(name string, f func() (*notifierv1.Subscription, error)) (*notifierv1.Subscription, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, name)
	if n.down {
		return nil, status.Error(codes.Unavailable, "down")
	}
	sub, err := f()
	if err == nil && n.lose > 0 && name != "get" {
		n.lose--
		return nil, status.Error(codes.Unavailable, "connection lost")
	}
	if sub != nil {
		sub = proto.CloneOf(sub)
		if name != "create" && name != "rotate" {
			sub.Secret = ""
		}
	}
	return sub, err
}

func (n *notifier) one(id string) (*notifierv1.Subscription, error) {
	if sub, ok := n.subs[id]; ok {
		return sub, nil
	}
	return nil, status.Error(codes.NotFound, "no such subscription")
}

func (n *notifier) GetSubscription(_ context.Context, r *notifierv1.GetSubscriptionRequest, _ ...grpc.CallOption) (*notifierv1.Subscription, error) {
	return n.call("get", func() (*notifierv1.Subscription, error) { return n.one(r.Id) })
}

func (n *notifier) ListSubscriptions(_ context.Context, r *notifierv1.ListSubscriptionsRequest, _ ...grpc.CallOption) (*notifierv1.ListSubscriptionsResponse, error) {
	res := &notifierv1.ListSubscriptionsResponse{}
	_, err := n.call("list", func() (*notifierv1.Subscription, error) {
		for _, sub := range n.subs {
			if sub.Name == r.Name {
				res.Subscriptions = append(res.Subscriptions, proto.CloneOf(sub))
			}
		}
		return nil, nil
	})
	return res, err
}

func (n *notifier) CreateSubscription(_ context.Context, r *notifierv1.CreateSubscriptionRequest, _ ...grpc.CallOption) (*notifierv1.Subscription, error) {
	return n.call("create", func() (*notifierv1.Subscription, error) {
		if id, ok := n.requests[r.RequestId]; ok {
			return n.one(id)
		}
		for _, sub := range n.subs {
			if sub.Name == r.Subscription.Name {
				return nil, status.Error(codes.AlreadyExists, "name taken")
			}
		}
		sub := proto.CloneOf(r.Subscription)
		sub.Id, sub.Status = fmt.Sprint("sub_", len(n.requests)), notifierv1.Subscription_PENDING_VERIFICATION
		n.subs[sub.Id], n.requests[r.RequestId] = sub, sub.Id
		return sub, nil
	})
}

func (n *notifier) UpdateSubscription(_ context.Context, r *notifierv1.UpdateSubscriptionRequest, _ ...grpc.CallOption) (*notifierv1.Subscription, error) {
	return n.call("update "+strings.Join(r.UpdateMask.Paths, ","), func() (*notifierv1.Subscription, error) {
		sub, err := n.one(r.Subscription.Id)
		if err != nil {
			return nil, err
		}
		if slices.Contains(r.UpdateMask.Paths, "url") {
			sub.Url, sub.Status = r.Subscription.Url, notifierv1.Subscription_PENDING_VERIFICATION
		}
		if slices.Contains(r.UpdateMask.Paths, "payload") {
			sub.Payload = r.Subscription.Payload
		}
		return sub, nil
	})
}

func (n *notifier) VerifySubscription(_ context.Context, r *notifierv1.VerifySubscriptionRequest, _ ...grpc.CallOption) (*notifierv1.Subscription, error) {
	return n.call("verify", func() (*notifierv1.Subscription, error) {
		if n.deaf > 0 {
			n.deaf--
			return nil, status.Error(codes.FailedPrecondition, "connection refused")
		}
		sub, err := n.one(r.Id)
		if err == nil {
			sub.Status = notifierv1.Subscription_ACTIVE
		}
		return sub, err
	})
}

func (n *notifier) ResumeSubscription(_ context.Context, r *notifierv1.ResumeSubscriptionRequest, _ ...grpc.CallOption) (*notifierv1.Subscription, error) {
	return n.call("resume", func() (*notifierv1.Subscription, error) {
		sub, err := n.one(r.Id)
		if err == nil {
			sub.Status = notifierv1.Subscription_ACTIVE
		}
		return sub, err
	})
}

func (n *notifier) RotateSecret(_ context.Context, r *notifierv1.RotateSecretRequest, _ ...grpc.CallOption) (*notifierv1.Subscription, error) {
	return n.call("rotate", func() (*notifierv1.Subscription, error) {
		sub, err := n.one(r.Id)
		if err == nil {
			sub.Secret = r.Secret
		}
		return sub, err
	})
}

// take gives the calls since the last take.
func (n *notifier) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	calls := n.calls
	n.calls = nil
	return calls
}

func (n *notifier) set(f func(*notifier)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

// memory is a bank's row.
type memory struct {
	mu sync.Mutex
	b  sqlstore.Bank
}

func (m *memory) Bank(context.Context) (sqlstore.Bank, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.b, nil
}

func (m *memory) SetSubscription(_ context.Context, id, secret string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b.SubscriptionID, m.b.RegisteredSecret = id, secret
	return nil
}

// during runs the registrar for a while of virtual time.
func during(t *testing.T, d time.Duration, cfg Config) {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(cfg).Run(ctx) }()
	time.Sleep(d)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func bubble(t *testing.T, test func(t *testing.T, n *notifier, cfg Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNotifier()
		test(t, n, Config{
			Name: "Nord", URL: "https://nord.test/webhooks/employees", Secret: webhook.NewSecret(),
			Store: &memory{b: sqlstore.Bank{InstanceID: "bnk_1"}}, Client: n,
		})
	})
}

func only(t *testing.T, n *notifier) *notifierv1.Subscription {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.subs) != 1 {
		t.Fatalf("%d subscriptions", len(n.subs))
	}
	for _, sub := range n.subs {
		return sub
	}
	return nil
}

func TestCreatesAndFindsItsSubscriptionAgain(t *testing.T) {
	bubble(t, func(t *testing.T, n *notifier, cfg Config) {
		var created []string
		cfg.Created = func(_ context.Context, id string) error { created = append(created, id); return nil }
		during(t, time.Second, cfg)
		sub := only(t, n)
		if sub.Status != notifierv1.Subscription_ACTIVE || sub.Secret != cfg.Secret.Reveal() || sub.Url != cfg.URL || len(created) != 1 {
			t.Fatalf("%v, created %v", sub.Status, created)
		}
		n.take()
		during(t, time.Second, cfg)
		if got := n.take(); !slices.Equal(got, []string{"get"}) {
			t.Errorf("after a restart: %v", got)
		}
	})
}

func TestWaitsForTheNotifier(t *testing.T) {
	bubble(t, func(t *testing.T, n *notifier, cfg Config) {
		n.set(func(n *notifier) { n.down = true })
		go func() {
			time.Sleep(10 * time.Minute)
			if calls := len(n.take()); calls < 15 || calls > 80 {
				t.Errorf("%d calls in ten minutes", calls)
			}
			n.set(func(n *notifier) { n.down = false })
		}()
		during(t, 12*time.Minute, cfg)
		if only(t, n).Status != notifierv1.Subscription_ACTIVE {
			t.Error("not active")
		}
	})
}

func TestEveryReplyMayBeLost(t *testing.T) {
	bubble(t, func(t *testing.T, n *notifier, cfg Config) {
		n.lose = 3
		during(t, time.Minute, cfg)
		if sub := only(t, n); sub.Status != notifierv1.Subscription_ACTIVE || sub.Secret != cfg.Secret.Reveal() {
			t.Error(sub.Status)
		}
	})
}

func TestTwoReplicasShareOneSubscription(t *testing.T) {
	bubble(t, func(t *testing.T, n *notifier, cfg Config) {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { during(t, time.Minute, cfg) })
		}
		wg.Wait()
		if only(t, n).Status != notifierv1.Subscription_ACTIVE {
			t.Error("not active")
		}
	})
}

func TestCorrectsWhatDiffers(t *testing.T) {
	bubble(t, func(t *testing.T, n *notifier, cfg Config) {
		during(t, time.Second, cfg)
		n.take()

		moved := cfg
		moved.URL, moved.Thin = "https://new.test/webhooks/employees", true
		during(t, time.Second, moved)
		if got := n.take(); !slices.Equal(got, []string{"get", "update url,payload", "verify"}) {
			t.Errorf("%v", got)
		}
		if sub := only(t, n); sub.Url != moved.URL || sub.Payload != notifierv1.Subscription_THIN || sub.Status != notifierv1.Subscription_ACTIVE {
			t.Errorf("%v", sub)
		}

		moved.Secret = webhook.NewSecret()
		during(t, time.Second, moved)
		if got := n.take(); !slices.Equal(got, []string{"get", "rotate"}) || only(t, n).Secret != moved.Secret.Reveal() {
			t.Errorf("%v", got)
		}
	})
}

func TestADatabaseThatWasLostTakesTheSubscriptionOver(t *testing.T) {
	bubble(t, func(t *testing.T, n *notifier, cfg Config) {
		during(t, time.Second, cfg)
		n.take()
		cfg.Store, cfg.Secret = &memory{b: sqlstore.Bank{InstanceID: "bnk_2"}}, webhook.NewSecret()
		during(t, time.Second, cfg)
		if got := n.take(); !slices.Equal(got, []string{"list", "rotate"}) || only(t, n).Secret != cfg.Secret.Reveal() {
			t.Errorf("%v", got)
		}
	})
}

func TestADeletedSubscriptionIsMadeAgain(t *testing.T) {
	bubble(t, func(t *testing.T, n *notifier, cfg Config) {
		during(t, time.Second, cfg)
		n.set(func(n *notifier) { clear(n.subs) })
		during(t, time.Minute, cfg)
		if sub := only(t, n); sub.Status != notifierv1.Subscription_ACTIVE || sub.Id != "sub_1" {
			t.Errorf("%v", sub)
		}
	})
}

func TestTriesUntilActive(t *testing.T) {
	bubble(t, func(t *testing.T, n *notifier, cfg Config) {
		n.deaf = 5
		var seen []string
		cfg.Observe = func(status string) { seen = append(seen, status) }
		during(t, time.Minute, cfg)
		if only(t, n).Status != notifierv1.Subscription_ACTIVE || seen[len(seen)-1] != "ACTIVE" {
			t.Errorf("%v", seen)
		}
		n.set(func(n *notifier) { n.subs["sub_0"].Status = notifierv1.Subscription_DISABLED })
		during(t, time.Second, cfg)
		if only(t, n).Status != notifierv1.Subscription_ACTIVE {
			t.Error("stays disabled")
		}
		n.set(func(n *notifier) { n.subs["sub_0"].Status = notifierv1.Subscription_PAUSED })
		during(t, time.Minute, cfg)
		if only(t, n).Status != notifierv1.Subscription_PAUSED {
			t.Error("what was paused by hand is resumed")
		}
	})
}
