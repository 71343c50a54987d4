package banksvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"hirewire.dev/bank-svc/internal/employees"
	"hirewire.dev/bank-svc/internal/iban"
	"hirewire.dev/bank-svc/internal/intake"
	"hirewire.dev/bank-svc/internal/reconcile"
	"hirewire.dev/bank-svc/internal/register"
	"hirewire.dev/bank-svc/internal/sqlstore"
	"hirewire.dev/platform/id"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/settings"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/platform/telemetry"
	employeev1 "hirewire.dev/proto/employee/v1"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
	"hirewire.dev/webhook/inbox"
)

// Service is a bank that is ready to run: its database is migrated and its addresses are bound.
type Service struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	group   *serve.Group
	http    *serve.HTTP
	grpc    *serve.GRPC
	webhook string
	closers []func() error
}

// New opens and migrates the database, binds the addresses and wires the bank together. It waits for a database that is not
// there yet. Run starts it; without Run, Close gives everything back. log nil is slog.Default().
func New(ctx context.Context, cfg Config, log *slog.Logger) (_ *Service, err error) {
	if log == nil {
		log = slog.Default()
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	issuer, err := iban.NewIssuer(cfg.Country, cfg.Name)
	if err != nil {
		return nil, settings.Wrong("BANK_COUNTRY", "%v", err)
	}
	if issuer, err = issuer.WithCode(cfg.Code); err != nil {
		return nil, fmt.Errorf("BANK_CODE: %w", err)
	}
	registry := telemetry.NewRegistry("bank-svc")
	health := serve.NewHealth(log)
	s := &Service{cfg: cfg, log: log, metrics: newMetrics(registry), group: serve.NewGroup(log, health)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	db, err := sqldb.Open(ctx, cfg.DatabaseURL.Reveal(), sqldb.ApplicationName("bank-svc"), sqldb.Await(log))
	if err != nil {
		return nil, fmt.Errorf("BANK_DATABASE_URL: %w", err)
	}
	s.closers = append(s.closers, db.Close)
	health.Add("database", db.Ready)
	store := sqlstore.New(db, issuer)
	bank, err := own(ctx, db, store, cfg)
	if err != nil {
		return nil, err
	}
	secrets, err := trusted(cfg, bank)
	if err != nil {
		return nil, err
	}
	source, err := s.dialEmployees()
	if err != nil {
		return nil, err
	}
	box, err := s.newInbox(db, intake.New(store, source, s.metrics.applied), registry)
	if err != nil {
		return nil, err
	}
	receiver, err := webhook.NewReceiver(webhook.ReceiverConfig{
		Secrets: secrets, PublicKeys: cfg.WebhookPublicKeys, Store: box, Observe: s.metrics.received(log),
	})
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	runner := reconcile.NewRunner(reconcile.Config{
		Store: store, Source: source, NewID: func() string { return id.New("rec") }, Interval: cfg.ReconcileInterval,
		Logger: log, Observe: s.metrics.reconciliation,
	})
	if err := s.listen(ctx, store, box, runner, receiver, registry, health); err != nil {
		return nil, err
	}
	if err := s.addRegistrar(store, runner, secrets); err != nil {
		return nil, err
	}
	s.group.Add("inbox", box.Run)
	s.group.Add("reconciler", runner.Run)
	return s, nil
}

// Run serves until ctx ends, then finishes what is in flight and stops. What was acknowledged and is not applied by then
// stays in the inbox, for the next start or another replica.
func (s *Service) Run(ctx context.Context) error {
	for _, closer := range s.closers {
		s.group.AddClose("resources", closer)
	}
	s.closers = nil
	s.log.InfoContext(ctx, "bank runs", "bank", s.cfg.Name, "http", s.http.URL(), "grpc", s.grpc.Addr(), "webhook", s.webhook)
	return s.group.Run(ctx)
}

// Close gives back what a Service holds that was never run.
func (s *Service) Close() error {
	var errs []error
	if s.http != nil {
		errs = append(errs, s.http.Close())
	}
	if s.grpc != nil {
		errs = append(errs, s.grpc.Close())
	}
	for _, closer := range slices.Backward(s.closers) {
		errs = append(errs, closer())
	}
	s.http, s.grpc, s.closers = nil, nil, nil
	return errors.Join(errs...)
}

// HTTPAddr is the address that HTTPS is bound to.
func (s *Service) HTTPAddr() string { return s.http.Addr() }

// GRPCAddr is the address that gRPC is bound to.
func (s *Service) GRPCAddr() string { return s.grpc.Addr() }

// WebhookURL is where the notifier is told to deliver.
func (s *Service) WebhookURL() string { return s.webhook }

// own makes the database the bank's.
func own(ctx context.Context, db *sqldb.DB, store *sqlstore.Store, cfg Config) (sqlstore.Bank, error) {
	if err := sqlstore.Migrate(ctx, db); err != nil {
		return sqlstore.Bank{}, err
	}
	if err := db.Migrate(ctx, "inbox", inbox.Migrations()); err != nil {
		return sqlstore.Bank{}, err
	}
	return store.Own(ctx, sqlstore.Bank{
		InstanceID: id.New("bnk"), Name: cfg.Name, Country: cfg.Country, WebhookSecret: webhook.NewSecret().Reveal(),
	})
}

// trusted are the secrets to verify with, the one to register first. What is configured stands in for what the database keeps.
func trusted(cfg Config, bank sqlstore.Bank) ([]webhook.Secret, error) {
	if len(cfg.WebhookSecrets) > 0 {
		return cfg.WebhookSecrets, nil
	}
	secret, err := webhook.ParseSecret(bank.WebhookSecret)
	if err != nil {
		return nil, fmt.Errorf("the webhook secret in the database: %w", err)
	}
	return []webhook.Secret{secret}, nil
}

func (s *Service) dialEmployees() (*employees.Client, error) {
	conn, err := serve.DialGRPC(serve.ClientConfig{Addr: string(s.cfg.EmployeeAddr), Key: s.cfg.EmployeeKey.Reveal(), CAFile: string(s.cfg.CAFile)})
	if err != nil {
		return nil, settings.Wrong("BANK_EMPLOYEE_ADDR", "%v: see BANK_CA_FILE", err)
	}
	s.closers = append(s.closers, conn.Close)
	return employees.New(employeev1.NewEmployeeServiceClient(conn)), nil
}

// addRegistrar sees to the subscription, in the background: the bank serves meanwhile, and has to, to answer the challenge.
func (s *Service) addRegistrar(store *sqlstore.Store, runner *reconcile.Runner, secrets []webhook.Secret) error {
	s.webhook = s.cfg.webhookURL(s.http.URL())
	if !s.cfg.Register {
		return nil
	}
	conn, err := serve.DialGRPC(serve.ClientConfig{Addr: string(s.cfg.NotifierAddr), Key: s.cfg.NotifierKey.Reveal(), CAFile: string(s.cfg.CAFile)})
	if err != nil {
		return settings.Wrong("BANK_NOTIFIER_ADDR", "%v: see BANK_CA_FILE", err)
	}
	s.closers = append(s.closers, conn.Close)
	registrar := register.New(register.Config{
		Name: s.cfg.Name, URL: s.webhook, Filter: s.cfg.Filter, Thin: s.cfg.Payload == "THIN", Secret: secrets[0],
		Store: store, Client: notifierv1.NewSubscriptionServiceClient(conn), Logger: s.log, Observe: s.metrics.subscribed,
		// What happened before there was a subscription has not been delivered.
		Created: func(ctx context.Context, subscriptionID string) error {
			_, err := runner.Request(ctx, false, subscriptionID)
			return err
		},
	})
	s.group.Add("registrar", registrar.Run)
	return nil
}
