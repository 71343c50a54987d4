package notifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"google.golang.org/grpc"

	"hirewire.dev/notifier/internal/grpcapi"
	"hirewire.dev/notifier/internal/sqlstore"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/rest"
	"hirewire.dev/platform/rpc"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/telemetry"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// Service is a notifier: bound to its addresses when New returns, at work while Run runs.
type Service struct {
	cfg     Config
	log     *slog.Logger
	metrics *prometheus.Registry
	health  *serve.Health

	grpc *serve.GRPC
	http *serve.HTTP

	parts   []part   // in the order of their start
	closers []closer // of what is behind the listeners, in the order of its opening
}

type part struct {
	name string
	run  func(context.Context) error
}

type closer struct {
	name  string
	close func() error
}

// New opens the database, brings it up to date, opens the secrets and binds the listeners. Nothing is served before Run, and
// after an error nothing is left open. log nil is slog.Default().
//
// Errors name the setting to change, where it is one.
func New(ctx context.Context, cfg Config, log *slog.Logger) (_ *Service, err error) {
	if log == nil {
		log = slog.Default()
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.warn(ctx, log)
	s := &Service{cfg: cfg, log: log, metrics: telemetry.NewRegistry("notifier"), health: serve.NewHealth(log)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	store, err := s.openStore(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := s.newAdmin(ctx, store)
	if err != nil {
		return nil, err
	}
	past := s.newPast(store, admin)
	engine := s.newEngine(store, admin, past.hub)
	past.due = engine.dispatcher.Due
	if err := s.listen(ctx, store, admin, engine, past); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Service) openStore(ctx context.Context) (*sqlstore.Store, error) {
	db, err := sqldb.Open(ctx, s.cfg.DatabaseURL.Reveal(), sqldb.ApplicationName("notifier"), sqldb.Await(s.log))
	if err != nil {
		return nil, fmt.Errorf("NOTIFIER_DATABASE_URL: %w", err)
	}
	s.onClose("database", db.Close)
	s.health.Add("database", db.Ready)
	store := sqlstore.New(db)
	s.onClose("statements", store.Close)
	if err := store.Migrate(ctx); err != nil {
		return nil, err
	}
	return store, store.MakePartitions(ctx)
}

// listen binds the addresses and puts the API behind them.
func (s *Service) listen(ctx context.Context, store *sqlstore.Store, a *admin, e *engine, p *past) error {
	chain, err := rpc.New(rpc.Config{
		Logger: s.log, Metrics: s.metrics, Tracer: otel.Tracer("hirewire.dev/notifier"), Authenticator: grpcapi.Keys{Authenticator: a.keys},
		Policy: grpcapi.Policy, Errors: grpcapi.Errors,
	})
	if err != nil {
		return err
	}
	gateway, err := rest.New(rest.Config{Chain: chain, TLS: s.cfg.grpcTLS(), OpenAPI: notifierv1.OpenAPI, Logger: s.log})
	if err != nil {
		return err
	}
	if s.grpc, err = serve.NewGRPC(serve.GRPCConfig{
		Addr: s.cfg.GRPCAddr.String(), Health: s.health, Logger: s.log, TLS: s.cfg.grpcTLS(),
		Unary: chain.Unary, Stream: chain.Stream, Reflection: s.cfg.Reflection,
	}); err != nil {
		return fmt.Errorf("NOTIFIER_GRPC_ADDR: %w", err)
	}
	if err := s.register(ctx, rpc.Registrars{s.grpc, gateway}, gateway, store, a, e, p); err != nil {
		return err
	}
	if err := chain.Check(s.grpc.GetServiceInfo()); err != nil {
		return err
	}
	if s.http, err = serve.NewHTTP(serve.HTTPConfig{
		Addr: s.cfg.HTTPAddr.String(), Handler: s.handler(gateway, a), Health: s.health, Metrics: s.metrics, Logger: s.log,
		TLS: s.cfg.httpTLS(), HSTS: true,
	}); err != nil {
		return fmt.Errorf("NOTIFIER_HTTP_ADDR: %w", err)
	}
	return a.guardOwn(s.grpc.Addr(), s.http.Addr())
}

// register puts every service on gRPC and, through the gateway, on REST.
func (s *Service) register(ctx context.Context, both grpc.ServiceRegistrar, gateway *rest.Gateway, store *sqlstore.Store, a *admin, e *engine, p *past) error {
	notifierv1.RegisterSubscriptionServiceServer(both, grpcapi.NewSubscriptions(a.subscriptions, e))
	notifierv1.RegisterApiKeyServiceServer(both, grpcapi.NewAPIKeys(a.keyService))
	notifierv1.RegisterAuditServiceServer(both, grpcapi.NewAudit(store))
	notifierv1.RegisterEventServiceServer(both, p.events(s, e))
	notifierv1.RegisterDeliveryServiceServer(both, p.deliveries(e))
	conn, mux := gateway.Conn(), gateway.Mux()
	return errors.Join(
		notifierv1.RegisterSubscriptionServiceHandlerClient(ctx, mux, notifierv1.NewSubscriptionServiceClient(conn)),
		notifierv1.RegisterApiKeyServiceHandlerClient(ctx, mux, notifierv1.NewApiKeyServiceClient(conn)),
		notifierv1.RegisterAuditServiceHandlerClient(ctx, mux, notifierv1.NewAuditServiceClient(conn)),
		notifierv1.RegisterEventServiceHandlerClient(ctx, mux, notifierv1.NewEventServiceClient(conn)),
		notifierv1.RegisterDeliveryServiceHandlerClient(ctx, mux, notifierv1.NewDeliveryServiceClient(conn)),
	)
}

// handler is what HTTP serves besides health and metrics.
func (s *Service) handler(gateway http.Handler, a *admin) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /.well-known/webhook-keys", webhookKeys(a.catalog))
	mux.Handle("GET /.well-known/webhook-sources", webhookSources(s.cfg.EgressAddresses))
	mux.Handle("/", gateway)
	return mux
}

// HTTPAddr is the bound HTTP address.
func (s *Service) HTTPAddr() string { return s.http.Addr() }

// GRPCAddr is the bound gRPC address.
func (s *Service) GRPCAddr() string { return s.grpc.Addr() }

// Run serves until ctx ends, then stops in order: not ready, listeners, workers, database. It returns nil after a clean stop.
// Call it once.
func (s *Service) Run(ctx context.Context) error {
	group := serve.NewGroup(s.log, s.health)
	group.AddServer("grpc", s.grpc.Run)
	group.AddServer("http", s.http.Run)
	for _, p := range s.parts {
		group.Add(p.name, p.run)
	}
	for _, c := range s.closers {
		group.AddClose(c.name, c.close)
	}
	s.log.InfoContext(ctx, "notifier runs", "http", s.http.URL(), "grpc", s.GRPCAddr())
	return group.Run(ctx)
}

// Close releases what New opened, for a Service that is not run.
func (s *Service) Close() error {
	var errs []error
	if s.http != nil {
		errs = append(errs, s.http.Close())
	}
	if s.grpc != nil {
		errs = append(errs, s.grpc.Close())
	}
	for _, c := range slices.Backward(s.closers) {
		if err := c.close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", c.name, err))
		}
	}
	s.closers = nil
	return errors.Join(errs...)
}

func (s *Service) onClose(name string, fn func() error) {
	s.closers = append(s.closers, closer{name, fn})
}

func (s *Service) run(name string, fn func(context.Context) error) {
	s.parts = append(s.parts, part{name, fn})
}

// newID makes ids for the packages that do not know how.
var newID = id.New
