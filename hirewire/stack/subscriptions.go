package stack

import (
	"context"
	"errors"
	"fmt"
	"time"

	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// AwaitSubscriptions waits until every bank's subscription is active, so that none misses an event, and notes their ids.
func (c *Clients) AwaitSubscriptions(ctx context.Context, d *Description) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for i := range d.Banks {
		id, err := c.awaitSubscription(ctx, d.Banks[i].Name)
		if err != nil {
			return err
		}
		d.Banks[i].SubscriptionID, c.Banks[i].SubscriptionID = id, id
	}
	return nil
}

func (c *Clients) awaitSubscription(ctx context.Context, name string) (string, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	state := "there is none"
	for {
		list, err := c.Subscriptions.ListSubscriptions(ctx, &notifierv1.ListSubscriptionsRequest{Name: name})
		if err == nil && len(list.GetSubscriptions()) > 0 {
			s := list.GetSubscriptions()[0]
			if s.GetStatus() == notifierv1.Subscription_ACTIVE {
				return s.GetId(), nil
			}
			state = s.GetStatus().String() + ": " + s.GetStatusReason()
		} else if err != nil {
			state = err.Error()
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return "", ctx.Err()
			}
			return "", fmt.Errorf("the subscription of %s does not become active: %s", name, state)
		case <-tick.C:
		}
	}
}
