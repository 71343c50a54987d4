package notifier

import (
	"context"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/filter"
	"hirewire.dev/notifier/internal/grpcapi"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/notifier/internal/listen"
	"hirewire.dev/notifier/internal/replay"
	"hirewire.dev/notifier/internal/retention"
	"hirewire.dev/notifier/internal/sqlstore"
	"hirewire.dev/notifier/internal/watch"
	"hirewire.dev/platform/telemetry"
)

// past is what looks at what was published and sent, and sends it again.
type past struct {
	store   *sqlstore.Store
	admin   *admin
	hub     *watch.Hub
	replays *replay.Service
	listen  *listen.Service
	due     func(subscriptionID string) // set before anything runs
}

func (s *Service) newPast(store *sqlstore.Store, a *admin) *past {
	p := &past{store: store, admin: a, hub: &watch.Hub{}}
	if store.Shared() {
		s.run("watching", watch.NewRelay(p.hub, store, replicaName(), s.log).Run)
	}
	runner := replay.NewRunner(store, a.catalog, filter.Candidate, func(id string) { p.due(id) }, s.log)
	a.changed = append(a.changed, runner.Wake)
	s.run("replays", runner.Run)
	p.replays = replay.NewService(store, a.subscriptions, eventTypes(), newID, store.Now, runner.Wake)
	p.listen = listen.New(listen.Config{
		Feed: store, Compile: a.compile, Candidate: filter.Candidate, Types: eventTypes(), Schedule: s.cfg.RetrySchedule,
		Version: telemetry.Version(), NewID: newID, Log: s.log,
	})
	s.run("retention", retention.New(retention.Config{Retention: s.cfg.Retention, PayloadRetention: s.cfg.PayloadRetention}, store, s.log).Run)
	return p
}

func (p *past) events(s *Service, e *engine) *grpcapi.Events {
	conflicts := newCounter(s.metrics, "notifier_event_conflicts_total", "Calls that published an event under an id that is known with other content.")
	return grpcapi.NewEvents(grpcapi.EventsConfig{
		Publisher: e.publisher, History: eraser{p.store, e.dispatcher}, Snapshots: p.admin.catalog, Now: access.Now, Retention: s.cfg.Retention, Conflict: conflicts.Inc,
	})
}

// eraser has the dispatcher drop what it holds of an employee before it says that their data is gone.
type eraser struct {
	*sqlstore.Store
	dispatcher *delivery.Dispatcher
}

// Erase implements history.Store.
func (e eraser) Erase(ctx context.Context, employeeID string, entry audit.Entry) (history.Erased, error) {
	erased, err := e.Store.Erase(ctx, employeeID, entry)
	if err != nil {
		return erased, err
	}
	return erased, e.dispatcher.DropErased(ctx)
}

func (p *past) deliveries(e *engine) *grpcapi.Deliveries {
	return grpcapi.NewDeliveries(grpcapi.DeliveriesConfig{
		History: p.store, Replays: p.replays, Watch: p.hub, Listen: p.listen, Snapshots: p.admin.catalog, Now: p.store.Now, Due: e.dispatcher.Due,
	})
}
