// Package register sees to it that the notifier has the bank's subscription, and that it is active.
package register

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/bank-svc/internal/sqlstore"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

const (
	firstWait   = 250 * time.Millisecond
	maxWait     = 30 * time.Second
	checkEvery  = 5 * time.Minute
	callTimeout = 30 * time.Second
)

// Store keeps what is arranged with the notifier.
type Store interface {
	Bank(ctx context.Context) (sqlstore.Bank, error)
	SetSubscription(ctx context.Context, subscriptionID, registeredSecret string) error
}

// Config is what a Registrar is made of.
type Config struct {
	Name   string // of the bank, and of its subscription
	URL    string // where the notifier reaches the webhook
	Filter string // CEL over the event; empty: all employees
	Thin   bool   // ask for events without personal data
	Secret webhook.Secret
	Store  Store
	Client notifierv1.SubscriptionServiceClient
	Logger *slog.Logger
	// Observe is told the status of the subscription whenever it was looked at, "" while the notifier cannot be asked. It may be nil.
	Observe func(status string)
	// Created is called after a subscription was made: what happened before it was there is not delivered. It may be called
	// twice, and be nil.
	Created func(ctx context.Context, subscriptionID string) error
}

// Registrar creates the bank's subscription, or finds it again after a restart, and corrects what differs. Several may run for one bank.
type Registrar struct {
	cfg  Config
	hash string // of the secret
}

// New makes a Registrar.
func New(cfg Config) *Registrar {
	if cfg.Observe == nil {
		cfg.Observe = func(string) {}
	}
	if cfg.Created == nil {
		cfg.Created = func(context.Context, string) error { return nil }
	}
	sum := sha256.Sum256([]byte(cfg.Secret.Reveal()))
	return &Registrar{cfg: cfg, hash: hex.EncodeToString(sum[:])}
}

// errNotActive says that the subscription is there but not active yet.
var errNotActive = errors.New("the subscription is not active yet")

// Run keeps the subscription in order until ctx ends: at once, again with growing waits until it is active, and then at
// intervals. What it cannot do now it tries again; it never fails.
func (r *Registrar) Run(ctx context.Context) error {
	pause, last := firstWait, ""
	for ctx.Err() == nil {
		state := ""
		sub, err := r.settle(ctx)
		switch {
		case err == nil:
			state, pause = sub.GetStatus().String(), firstWait
			if state != last {
				r.cfg.Logger.InfoContext(ctx, "subscription in order", "subscription_id", sub.GetId(), "status", state)
			}
			wait(ctx, jitter(checkEvery))
		case ctx.Err() == nil:
			r.cfg.Logger.WarnContext(ctx, "register the webhook: trying again", "error", err, "wait", pause.String())
			wait(ctx, jitter(pause))
			pause = min(2*pause, maxWait)
		}
		last = state
	}
	return nil
}

// settle brings the subscription one look further, and returns it once there is nothing left to do.
func (r *Registrar) settle(ctx context.Context) (*notifierv1.Subscription, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	b, err := r.cfg.Store.Bank(ctx)
	if err != nil {
		return nil, err
	}
	sub, err := r.find(ctx, b)
	if err != nil {
		r.cfg.Observe("")
		return nil, reason("find the subscription", err)
	}
	if sub == nil {
		sub, err = r.create(ctx, b)
	} else {
		sub, err = r.correct(ctx, b, sub)
	}
	if err != nil {
		return nil, err
	}
	if sub, err = r.activate(ctx, sub); err != nil {
		return nil, err
	}
	r.cfg.Observe(sub.GetStatus().String())
	return sub, nil
}

// find looks for the subscription by the id that was noted, then by the bank's name; nil when there is none.
func (r *Registrar) find(ctx context.Context, b sqlstore.Bank) (*notifierv1.Subscription, error) {
	if b.SubscriptionID != "" {
		sub, err := r.cfg.Client.GetSubscription(ctx, &notifierv1.GetSubscriptionRequest{Id: b.SubscriptionID})
		if status.Code(err) != codes.NotFound {
			return sub, err
		}
	}
	list, err := r.cfg.Client.ListSubscriptions(ctx, &notifierv1.ListSubscriptionsRequest{Name: r.cfg.Name})
	if err != nil {
		return nil, err
	}
	var found *notifierv1.Subscription
	for _, sub := range list.GetSubscriptions() {
		switch {
		case sub.GetName() != r.cfg.Name:
		case found == nil || sub.GetUrl() == r.cfg.URL:
			found = sub
		case found.GetUrl() != r.cfg.URL:
			return nil, fmt.Errorf("several subscriptions have the name %q: use a key of role bank", r.cfg.Name)
		}
	}
	return found, nil
}

// wanted is the subscription as it must be.
func (r *Registrar) wanted() *notifierv1.Subscription {
	payload := notifierv1.Subscription_FULL
	if r.cfg.Thin {
		payload = notifierv1.Subscription_THIN
	}
	return &notifierv1.Subscription{
		Name:        r.cfg.Name,
		Description: "Opens, updates and closes accounts.",
		Url:         r.cfg.URL,
		EventTypes:  []string{"employee.*"},
		Filter:      r.cfg.Filter,
		Payload:     payload,
		Format:      notifierv1.Subscription_STANDARD,
	}
}

// create makes the subscription. The request id is the same whenever it is tried again, and another one once a subscription
// that was made with it has been deleted.
func (r *Registrar) create(ctx context.Context, b sqlstore.Bank) (*notifierv1.Subscription, error) {
	wanted := r.wanted()
	wanted.Secret = r.cfg.Secret.Reveal()
	sub, err := r.cfg.Client.CreateSubscription(ctx, &notifierv1.CreateSubscriptionRequest{
		Subscription: wanted, RequestId: requestID(b.InstanceID, b.SubscriptionID),
	})
	if err != nil {
		return nil, reason("create the subscription", err)
	}
	r.cfg.Logger.InfoContext(ctx, "subscription created", "subscription_id", sub.GetId())
	if err := r.cfg.Created(ctx, sub.GetId()); err != nil {
		return nil, err
	}
	return sub, r.cfg.Store.SetSubscription(ctx, sub.GetId(), r.hash)
}

// activate does what the status asks for.
func (r *Registrar) activate(ctx context.Context, sub *notifierv1.Subscription) (*notifierv1.Subscription, error) {
	r.cfg.Observe(sub.GetStatus().String())
	var err error
	switch sub.GetStatus() {
	case notifierv1.Subscription_PENDING_VERIFICATION:
		sub, err = r.cfg.Client.VerifySubscription(ctx, &notifierv1.VerifySubscriptionRequest{Id: sub.GetId()})
	case notifierv1.Subscription_DISABLED:
		sub, err = r.cfg.Client.ResumeSubscription(ctx, &notifierv1.ResumeSubscriptionRequest{Id: sub.GetId()})
	default: // ACTIVE; or PAUSED, which somebody wanted
		return sub, nil
	}
	if err != nil {
		return nil, reason("activate the subscription", err)
	}
	if sub.GetStatus() != notifierv1.Subscription_ACTIVE {
		return nil, fmt.Errorf("%w: %s %s", errNotActive, sub.GetStatus(), sub.GetStatusReason())
	}
	return sub, nil
}

// reason is what a log is told: the code and the server's message, which repeats no secret.
func reason(op string, err error) error {
	if st, ok := status.FromError(err); ok {
		return fmt.Errorf("%s: %s: %s", op, st.Code(), st.Message())
	}
	return fmt.Errorf("%s: %w", op, err)
}

// requestID is one id for the same parts.
func requestID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return "bank-" + hex.EncodeToString(h.Sum(nil)[:16])
}

func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d) //nolint:gosec // Spreads load; nothing depends on its being unguessable.
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
