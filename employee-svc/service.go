package employeesvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"google.golang.org/grpc"

	"hirewire.dev/employee-svc/internal/grpcapi"
	"hirewire.dev/employee-svc/internal/notify"
	"hirewire.dev/employee-svc/internal/outbox"
	"hirewire.dev/employee-svc/internal/sqlstore"
	"hirewire.dev/platform/rest"
	"hirewire.dev/platform/rpc"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/settings"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/telemetry"
	employeev1 "hirewire.dev/proto/employee/v1"
)

const (
	// handoffRoom is how many committed events wait in memory for the relay; more wait in the table.
	handoffRoom = 8192
	// maxMessage bounds requests; an answer repeats a request and adds to it.
	maxMessage = 1 << 20
	maxAnswer  = 2 << 20
)

// Service is an employee service: bound to its addresses when New returns, at work while Run runs.
type Service struct {
	log     *slog.Logger
	health  *serve.Health
	metrics *prometheus.Registry

	db       *sqldb.DB
	store    *sqlstore.Store
	relay    *outbox.Relay
	notifier *grpc.ClientConn
	grpc     *serve.GRPC
	http     *serve.HTTP
}

// New opens the database, waiting a while for one that is starting, brings it up to date and binds the addresses. Nothing is
// served before Run, and after an error nothing is left open. log nil is slog.Default(). Errors name the setting to change,
// where it is one.
func New(ctx context.Context, cfg Config, log *slog.Logger) (_ *Service, err error) {
	if log == nil {
		log = slog.Default()
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Service{log: log, health: serve.NewHealth(log), metrics: telemetry.NewRegistry("employee-svc")}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := s.openStore(ctx, cfg); err != nil {
		return nil, err
	}
	return s, s.listen(ctx, cfg)
}

// openStore opens the database and connects the store with the relay.
func (s *Service) openStore(ctx context.Context, cfg Config) (err error) {
	if s.db, err = sqldb.Open(ctx, cfg.databaseURL(), sqldb.ApplicationName("employee-svc"), sqldb.Await(s.log)); err != nil {
		return fmt.Errorf("EMPLOYEE_DATABASE_URL: %w", err)
	}
	s.health.Add("database", s.db.Ready)
	if err := sqlstore.Migrate(ctx, s.db); err != nil {
		return err
	}
	handoff := outbox.NewHandoff(handoffRoom)
	if s.store, err = sqlstore.New(ctx, sqlstore.Config{DB: s.db, Handoff: handoff, Encode: notify.Encode}); err != nil {
		return err
	}
	if s.notifier, err = serve.DialGRPC(cfg.notifier()); err != nil {
		return settings.Wrong("EMPLOYEE_NOTIFIER_ADDR", "%v: see EMPLOYEE_NOTIFIER_CA_FILE, EMPLOYEE_NOTIFIER_TLS and EMPLOYEE_NOTIFIER_PLAINTEXT", err)
	}
	s.relay = outbox.New(outbox.Config{
		Store: sqlstore.NewOutbox(s.db), Publisher: notify.NewPublisher(s.notifier), Handoff: handoff,
		Observer: newRelayMetrics(s.metrics), Logger: s.log,
	})
	return nil
}

// listen binds the addresses and puts the API behind them.
func (s *Service) listen(ctx context.Context, cfg Config) error {
	chain, err := rpc.New(rpc.Config{
		Logger: s.log, Metrics: s.metrics, Tracer: otel.Tracer("hirewire.dev/employee-svc"), Authenticator: cfg.keys(),
		Policy: grpcapi.Policy, Errors: grpcapi.Errors,
	})
	if err != nil {
		return err
	}
	gateway, err := rest.New(rest.Config{Chain: chain, TLS: cfg.grpcTLS(), OpenAPI: employeev1.OpenAPI, Logger: s.log})
	if err != nil {
		return err
	}
	if s.grpc, err = serve.NewGRPC(serve.GRPCConfig{
		Addr: orLoopback(cfg.GRPCAddr), Health: s.health, Logger: s.log, TLS: cfg.grpcTLS(), Unary: chain.Unary, Stream: chain.Stream,
		MaxMessage: maxMessage, Reflection: cfg.Reflection, Options: []grpc.ServerOption{grpc.MaxSendMsgSize(maxAnswer)},
	}); err != nil {
		return fmt.Errorf("EMPLOYEE_GRPC_ADDR: %w", err)
	}
	employeev1.RegisterEmployeeServiceServer(rpc.Registrars{s.grpc, gateway}, grpcapi.New(s.store))
	if err := employeev1.RegisterEmployeeServiceHandlerClient(ctx, gateway.Mux(), employeev1.NewEmployeeServiceClient(gateway.Conn())); err != nil {
		return err
	}
	if err := chain.Check(s.grpc.GetServiceInfo()); err != nil {
		return err
	}
	if s.http, err = serve.NewHTTP(serve.HTTPConfig{
		Addr: orLoopback(cfg.HTTPAddr), Handler: gateway, Health: s.health, Metrics: s.metrics, Logger: s.log, TLS: cfg.httpTLS(), HSTS: true,
	}); err != nil {
		return fmt.Errorf("EMPLOYEE_HTTP_ADDR: %w", err)
	}
	return nil
}

// HTTPAddr is the address that HTTP is bound to.
func (s *Service) HTTPAddr() string { return s.http.Addr() }

// GRPCAddr is the address that gRPC is bound to.
func (s *Service) GRPCAddr() string { return s.grpc.Addr() }

// Run serves until ctx ends, then stops in order: not ready, listeners, creates that wait, relay, database. It returns nil
// after a clean stop. Call it once.
func (s *Service) Run(ctx context.Context) error {
	group := serve.NewGroup(s.log, s.health)
	group.AddServer("grpc", s.grpc.Run)
	group.AddServer("http", s.http.Run)
	group.Add("store and relay", s.work)
	group.Add("request ids", func(ctx context.Context) error { return s.store.KeepPruned(ctx, s.log) })
	group.AddClose("database", s.db.Close)
	group.AddClose("statements", s.store.Close)
	group.AddClose("notifier", s.notifier.Close)
	s.log.InfoContext(ctx, "employee service runs", "http", s.http.URL(), "grpc", s.grpc.Addr())
	return group.Run(ctx)
}

// work runs what commits and what publishes. The relay stops after the last commit, so that it sees what that left.
func (s *Service) work(ctx context.Context) error {
	outlive, stopRelay := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRelay()
	var wg sync.WaitGroup
	var relayErr error
	wg.Go(func() { relayErr = s.relay.Run(outlive) })
	storeErr := s.store.Run(ctx)
	stopRelay()
	wg.Wait()
	return errors.Join(storeErr, relayErr)
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
	if s.notifier != nil {
		errs = append(errs, s.notifier.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	return errors.Join(errs...)
}
