package notifier

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/notifier/internal/ingest"
	"hirewire.dev/notifier/internal/sqlstore"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/id"
	"hirewire.dev/webhook"
)

// engine takes events in and sends them.
type engine struct {
	publisher  *ingest.Publisher
	dispatcher *delivery.Dispatcher
	store      *sqlstore.Store
}

func (s *Service) newEngine(store *sqlstore.Store, a *admin, observers ...delivery.Observer) *engine {
	e := &engine{store: store}
	e.dispatcher = delivery.New(delivery.Config{Replica: replicaName(), Schedule: s.cfg.RetrySchedule},
		store, a.sender, a.catalog, a.health, s.log, append([]delivery.Observer{healthObserver{a.health}, newAttemptMetrics(s.metrics)}, observers...)...)
	registerLoad(s.metrics, e.dispatcher)
	e.publisher = ingest.New(ingest.Config{Schedule: s.cfg.RetrySchedule, NewID: func() string { return id.New("dlv") }},
		store, a.catalog, e.dispatcher, s.log)
	s.run("changes", func(ctx context.Context) error {
		return store.ListenForChanges(ctx, func() { a.catalog.Wake(); a.keys.Wake(); e.dispatcher.Recount() })
	})
	s.run("publishing", e.publisher.Run)
	s.run("deliveries", func(ctx context.Context) error { return runInside(ctx, e.dispatcher.Run, a.sender.Run) })
	return e
}

// runInside runs inner within the life of outer, which it needs until it has ended: the dispatcher finishes its attempts over
// the sender's connections.
func runInside(ctx context.Context, inner, outer func(context.Context) error) error {
	outerCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var outerErr error
	var wait sync.WaitGroup
	wait.Go(func() { outerErr = outer(outerCtx) })
	err := inner(ctx)
	stop()
	wait.Wait()
	if err != nil {
		return err
	}
	return outerErr
}

// replicaName tells this process apart from others on the same database.
func replicaName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), id.New("rep"))
}

// healthObserver tells the health of subscriptions how attempts ended.
type healthObserver struct{ health *subscription.Health }

// Observe implements delivery.Observer.
func (o healthObserver) Observe(results []delivery.Result) {
	for i := range results {
		if r := &results[i]; r.Attempt.Number > 0 {
			o.health.Observe(r.Delivery.SubscriptionID, r.Attempt.Outcome == delivery.OutcomeDelivered)
		}
	}
}

// SendTest implements grpcapi.Tester.
func (e *engine) SendTest(ctx context.Context, subscriptionID string) (delivery.Delivery, error) {
	now := time.Now()
	ev := event.New(id.New("evt"), webhook.TypeTest, now, map[string]any{"subscription_id": subscriptionID, "message": "This is a test."})
	if err := e.publisher.PublishTo(ctx, ev, subscriptionID); err != nil {
		return delivery.Delivery{}, fmt.Errorf("send test event: %w", err)
	}
	list, err := e.store.Deliveries(ctx, history.DeliveryQuery{SubscriptionID: subscriptionID, EventID: ev.ID, Limit: 1})
	if err != nil {
		return delivery.Delivery{}, fmt.Errorf("send test event: %w", err)
	}
	if len(list) == 0 { // deleted meanwhile
		return delivery.Delivery{}, subscription.ErrNotFound
	}
	return list[0], nil
}
