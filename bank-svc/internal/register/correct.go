package register

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"hirewire.dev/bank-svc/internal/sqlstore"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// correct changes what differs from what the bank needs: the secret first, since a new URL has to answer a challenge with it.
// What operators may tune, such as the rate, is left as it is.
func (r *Registrar) correct(ctx context.Context, b sqlstore.Bank, sub *notifierv1.Subscription) (*notifierv1.Subscription, error) {
	// A subscription with an Ed25519 key was made by hand: it is trusted by its public key, and has no secret.
	if sub.GetSignature() != notifierv1.Subscription_V1A && (b.SubscriptionID != sub.GetId() || b.RegisteredSecret != r.hash) {
		if err := r.rotate(ctx, b, sub); err != nil {
			return nil, err
		}
	}
	change, mask := r.differences(sub)
	if len(mask) == 0 {
		return sub, nil
	}
	changed, err := r.cfg.Client.UpdateSubscription(ctx, &notifierv1.UpdateSubscriptionRequest{
		Subscription: change, UpdateMask: &fieldmaskpb.FieldMask{Paths: mask},
	})
	if err != nil {
		return nil, reason("update the subscription", err)
	}
	r.cfg.Logger.InfoContext(ctx, "subscription updated", "subscription_id", sub.GetId(), "fields", mask)
	return changed, nil
}

func (r *Registrar) differences(sub *notifierv1.Subscription) (*notifierv1.Subscription, []string) {
	want := r.wanted()
	want.Id = sub.GetId()
	var mask []string
	if sub.GetUrl() != want.GetUrl() {
		mask = append(mask, "url")
	}
	if !slices.Equal(sub.GetEventTypes(), want.GetEventTypes()) {
		mask = append(mask, "event_types")
	}
	if sub.GetFilter() != want.GetFilter() {
		mask = append(mask, "filter")
	}
	if sub.GetPayload() != want.GetPayload() {
		mask = append(mask, "payload")
	}
	if sub.GetFormat() != want.GetFormat() {
		mask = append(mask, "format")
	}
	return want, mask
}

// rotate makes the notifier sign with the bank's secret. The old one signs too for a while when the bank knew it; of a
// subscription whose secret the bank has lost, it ends at once.
func (r *Registrar) rotate(ctx context.Context, b sqlstore.Bank, sub *notifierv1.Subscription) error {
	req := &notifierv1.RotateSecretRequest{
		Id: sub.GetId(), Secret: r.cfg.Secret.Reveal(),
		RequestId: requestID(b.InstanceID, sub.GetId(), b.RegisteredSecret, r.hash, time.Now().UTC().Format(time.DateOnly)),
	}
	if b.SubscriptionID != sub.GetId() {
		req.Overlap = durationpb.New(0)
	}
	if _, err := r.cfg.Client.RotateSecret(ctx, req); err != nil {
		return reason("rotate the secret", err)
	}
	r.cfg.Logger.InfoContext(ctx, "webhook secret rotated", "subscription_id", sub.GetId())
	return r.cfg.Store.SetSubscription(ctx, sub.GetId(), r.hash)
}
