package notifier

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/egress"
	"hirewire.dev/notifier/internal/filter"
	"hirewire.dev/notifier/internal/httpsend"
	"hirewire.dev/notifier/internal/schema"
	"hirewire.dev/notifier/internal/sqlstore"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/settings"
	"hirewire.dev/platform/telemetry"
)

// admin is the plane on which subscriptions and keys are managed, and the snapshot of them that deliveries follow.
type admin struct {
	guard         *egress.Guard
	sender        *httpsend.Sender
	keys          *access.Authenticator
	keyService    *access.Service
	catalog       *subscription.Catalog
	subscriptions *subscription.Service
	health        *subscription.Health
	compile       func(filter string) (func(*subscription.Candidate) bool, error)
	// changed is called after each change of a subscription that was made here.
	changed []func()
}

func (s *Service) newAdmin(ctx context.Context, store *sqlstore.Store) (*admin, error) {
	box, err := s.cfg.openBox(ctx, store, newID)
	if err != nil {
		return nil, err
	}
	s.onClose("master key", box.Close)

	a := &admin{guard: s.cfg.guard()}
	if a.sender, err = s.cfg.newSender(a.guard); err != nil {
		return nil, err
	}

	a.keys = access.NewAuthenticator(store, s.cfg.staticKeys(), s.log)
	if err := a.keys.Refresh(ctx); err != nil {
		return nil, err
	}
	if !a.keys.HasAdmin() {
		return nil, settings.Wrong("NOTIFIER_ADMIN_KEY", "required, but not set: there is no key with the role admin yet")
	}
	s.run("keys", a.keys.Run)
	a.keyService = access.NewService(store, box, s.cfg.staticKeys(), newID, func(ctx context.Context) {
		if err := a.keys.Refresh(ctx); err != nil {
			s.log.WarnContext(ctx, "API keys could not be refreshed", "error", err)
		}
	})

	a.compile = s.filters()
	a.catalog = subscription.NewCatalog(store, box, a.compile, store.Now, s.log)
	if _, err := a.catalog.Reload(ctx); err != nil {
		return nil, err
	}
	s.health.Add("subscriptions", a.catalog.Check)
	s.run("subscriptions", a.catalog.Run)

	a.subscriptions = subscription.NewService(subscription.ServiceConfig{
		Store: store, Sealer: box, NewID: newID, Now: store.Now,
		Rules:      subscription.Rules{CheckURL: a.checkURL, Compile: a.compile, EventTypes: eventTypes()},
		Challenger: subscription.NewProver(a.sender, a.catalog, newID),
		Changed: func(ctx context.Context) {
			if _, err := a.catalog.Reload(ctx); err != nil {
				s.log.WarnContext(ctx, "subscriptions could not be refreshed", "error", err)
			}
			for _, tell := range a.changed {
				tell()
			}
		},
	})
	verifier := subscription.NewVerifier(a.subscriptions, s.log)
	a.changed = append(a.changed, verifier.Wake)
	s.run("challenges", verifier.Run)
	a.health = subscription.NewHealth(a.subscriptions, a.catalog, a.sender, s.log, subscription.HealthConfig{
		WarnAfter: s.cfg.WarnAfter, DisableAfter: s.cfg.DisableAfter,
	})
	s.run("health of subscriptions", a.health.Run)
	janitor := subscription.NewJanitor(store, store.Now, s.cfg.Retention, s.log, box.Refresh)
	a.changed = append(a.changed, janitor.Wake)
	s.run("cleaning up", janitor.Run)
	s.run("metrics", newStockMetrics(s.metrics, store, s.log).Run)
	return a, nil
}

func (c Config) staticKeys() []access.StaticKey {
	var keys []access.StaticKey
	if c.AdminKey.Reveal() != "" {
		keys = append(keys, access.StaticKey{Name: adminKey, Role: access.Admin, Secret: c.AdminKey.Reveal()})
	}
	for _, k := range c.APIKeys {
		keys = append(keys, access.StaticKey{Name: k.Name, Role: access.Role(k.Role), Secret: k.Key.Reveal()})
	}
	return keys
}

// guard says where may be sent. Its own addresses are added when they are bound.
func (c Config) guard() *egress.Guard {
	g := &egress.Guard{Allow: c.AllowCIDRs, AllowHTTP: c.AllowHTTP, Ports: c.AllowPorts}
	if name, err := os.Hostname(); err == nil && name != "" {
		g.OwnNames = append(g.OwnNames, strings.ToLower(name))
	}
	return g
}

// guardOwn makes the guard refuse the addresses that this process listens on.
func (a *admin) guardOwn(addrs ...string) error {
	for _, addr := range addrs {
		ap, err := netip.ParseAddrPort(addr)
		if err != nil {
			return fmt.Errorf("own address: %w", err)
		}
		own, err := egress.OwnAddrs(net.TCPAddrFromAddrPort(ap))
		if err != nil {
			return err
		}
		a.guard.Own = append(a.guard.Own, own...)
	}
	return nil
}

func (a *admin) checkURL(raw string) error {
	_, err := a.guard.CheckURL(raw)
	return err
}

func (c Config) newSender(guard *egress.Guard) (*httpsend.Sender, error) {
	conf := httpsend.Config{Guard: guard, Version: telemetry.Version()}
	var err error
	if c.CAFile != "" {
		if conf.RootCAs, err = loadRoots(c.CAFile.String()); err != nil {
			return nil, fmt.Errorf("NOTIFIER_CA_FILE: %w", err)
		}
	}
	if c.ClientCert != "" {
		if conf.ClientCertificate, err = loadCertificate(c.ClientCert.String(), c.ClientKey.String()); err != nil {
			return nil, fmt.Errorf("NOTIFIER_CLIENT_CERT: %w", err)
		}
	}
	return httpsend.New(conf), nil
}

// filters compiles filters, and counts the events for which one cannot be evaluated.
func (s *Service) filters() func(expression string) (func(*subscription.Candidate) bool, error) {
	failed := newCounter(s.metrics, "notifier_filter_errors_total", "Events for which a subscription's filter could not be evaluated; they do not match.")
	return func(expression string) (func(*subscription.Candidate) bool, error) {
		f, err := filter.Compile(expression)
		if err != nil {
			return nil, err
		}
		return func(c *subscription.Candidate) bool {
			ok, err := f.Match(c)
			if err != nil {
				failed.Inc()
			}
			return ok
		}, nil
	}
}

func eventTypes() []string {
	var names []string
	for _, t := range schema.Types() {
		names = append(names, t.Name)
	}
	return names
}
