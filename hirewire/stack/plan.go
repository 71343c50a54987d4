package stack

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hirewire.dev/hirewire/internal/pki"
	"hirewire.dev/webhook"
)

// Config says what kind of stack is wanted. Dir is required.
type Config struct {
	// Dir holds databases, certificates and keys. A stack that is planned again in the same folder finds its state again.
	Dir string
	// Banks is how many; their webhooks are registered as they start.
	Banks int
	// Notifiers is how many replicas share the notifier's database; 0: 1. More need a DatabaseURL.
	Notifiers int
	// DatabaseURL is a PostgreSQL server's, in which each service gets a schema of its own; empty: SQLite files in Dir.
	DatabaseURL string
	// Env is added to the environment of each service, by the service's kind: "employee-svc", "notifier", "bank-svc".
	Env map[string]map[string]string
}

// Service is one program of a stack: what to run and with which environment.
type Service struct {
	// Name is its own: employee-svc, notifier-1, bank-2.
	Name string
	// Kind is the program: employee-svc, notifier or bank-svc.
	Kind string
	// Env is its whole configuration.
	Env map[string]string
	// Ready is its readiness address.
	Ready string
}

// Plan is a stack before it runs: addresses, keys and certificates are there, and each service's environment is known.
type Plan struct {
	Services    []Service
	Description Description
	// Schemas are those of the DatabaseURL that the services live in.
	Schemas []string
}

// countries of the demo's banks, so that their account numbers look different.
var countries = []string{"DE", "FR", "CH", "NL", "ES", "AT", "BE", "GB", "IT", "PL"}

// kept is what a folder remembers, so that the next plan in it is the same stack.
type kept struct {
	Instance                                              string
	MasterKey                                             string
	WriterKey, ReaderKey, AdminKey, PublisherKey, BankKey string
	Secrets                                               map[string]string // webhook secrets by bank
	NotifierKeys                                          map[string]string // the banks' keys for the notifier
	Ports                                                 map[string]int
}

// NewPlan prepares a stack in cfg.Dir.
func NewPlan(cfg Config) (*Plan, error) {
	if cfg.Notifiers == 0 {
		cfg.Notifiers = 1
	}
	if cfg.Banks < 0 || cfg.Banks > 100 || cfg.Notifiers < 0 || cfg.Notifiers > 10 {
		return nil, errors.New("a stack has at most 100 banks and 10 notifiers")
	}
	if cfg.Notifiers > 1 && cfg.DatabaseURL == "" {
		return nil, errors.New("more than one notifier needs PostgreSQL")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p := &planner{cfg: cfg, dir: dir}
	if err := p.load(); err != nil {
		return nil, err
	}
	if err := p.certify(); err != nil {
		return nil, err
	}
	plan, err := p.plan()
	if err != nil {
		return nil, err
	}
	return plan, p.save()
}

type planner struct {
	cfg  Config
	dir  string
	kept kept
}

func (p *planner) path(name string) string { return filepath.Join(p.dir, name) }

func (p *planner) load() error {
	data, err := os.ReadFile(p.path("keys.json"))
	if errors.Is(err, os.ErrNotExist) {
		p.kept = kept{
			Instance: strings.ToLower(rand.Text()[:8]), MasterKey: base64.StdEncoding.EncodeToString(random(32)),
			WriterKey: NewKey(), ReaderKey: NewKey(), AdminKey: NewKey(), PublisherKey: NewKey(), BankKey: NewKey(),
			Secrets: map[string]string{}, NotifierKeys: map[string]string{}, Ports: map[string]int{},
		}
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(data, &p.kept)
}

func (p *planner) save() error {
	data, err := json.Marshal(p.kept)
	if err != nil {
		return err
	}
	return os.WriteFile(p.path("keys.json"), data, 0o600)
}

// certify makes the throw-away authority, and one certificate that all banks on this machine share.
func (p *planner) certify() error {
	if _, err := os.Stat(p.path("tls.key")); err == nil {
		return nil
	}
	authority, err := pki.NewAuthority("Hirewire throw-away CA", 30*24*time.Hour)
	if err != nil {
		return err
	}
	pair, err := authority.Issue("localhost", "127.0.0.1", "::1")
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name    string
		content []byte
	}{{"ca.pem", authority.PEM}, {"tls.crt", pair.Cert}, {"tls.key", pair.Key}} {
		if err := os.WriteFile(p.path(file.name), file.content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// addr is a loopback address that stays the same for the name.
func (p *planner) addr(name string) (string, error) {
	if p.kept.Ports[name] == 0 || !free(p.kept.Ports[name]) {
		port, err := p.freePort()
		if err != nil {
			return "", err
		}
		p.kept.Ports[name] = port
	}
	return fmt.Sprintf("127.0.0.1:%d", p.kept.Ports[name]), nil
}

// Ports for listeners are below those that systems give to outgoing connections: one of these may take a port between the
// look and the use of it, and keep it.
const lowestPort, highestPort = 20_000, 32_767

// freePort is a port that is free and planned for nothing else.
func (p *planner) freePort() (int, error) {
	for range 1000 {
		port := lowestPort + mathrand.IntN(highestPort-lowestPort+1) //nolint:gosec // nothing depends on its being unguessable
		if free(port) && !slices.Contains(slices.Collect(maps.Values(p.kept.Ports)), port) {
			return port, nil
		}
	}
	return 0, errors.New("there is no free port")
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // it opens and closes at once
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

func (p *planner) plan() (*Plan, error) {
	plan := &Plan{Description: Description{CAFile: p.path("ca.pem"), DataDir: p.dir}}
	var addrs []string
	for _, name := range []string{"employee-http", "employee-grpc"} {
		addr, err := p.addr(name)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	employeeHTTP, employeeGRPC := addrs[0], addrs[1]
	k := p.kept
	plan.Description.Employee = EmployeeAccess{HTTP: "http://" + employeeHTTP, GRPC: employeeGRPC, WriterKey: k.WriterKey, ReaderKey: k.ReaderKey}

	notifierKeys := []string{"employee-svc:publisher:" + k.PublisherKey}
	for i := range p.cfg.Banks {
		name := bankName(i)
		if k.NotifierKeys[name] == "" {
			k.NotifierKeys[name] = NewKey()
		}
		notifierKeys = append(notifierKeys, name+":bank:"+k.NotifierKeys[name])
	}
	var notifiers []string
	for i := range p.cfg.Notifiers {
		name := fmt.Sprintf("notifier-%d", i+1)
		httpAddr, err1 := p.addr(name + "-http")
		grpcAddr, err2 := p.addr(name + "-grpc")
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		notifiers = append(notifiers, grpcAddr)
		if i == 0 {
			plan.Description.Notifier = NotifierAccess{HTTP: "http://" + httpAddr, GRPC: grpcAddr, AdminKey: k.AdminKey, PublisherKey: k.PublisherKey}
		}
		plan.add(p, name, "notifier", "http://"+httpAddr, "notifier", map[string]string{
			"NOTIFIER_HTTP_ADDR": httpAddr, "NOTIFIER_GRPC_ADDR": grpcAddr,
			"NOTIFIER_ADMIN_KEY": k.AdminKey, "NOTIFIER_MASTER_KEY": k.MasterKey,
			"NOTIFIER_API_KEYS":    strings.Join(notifierKeys, ","),
			"NOTIFIER_ALLOW_CIDRS": "127.0.0.0/8,::1/128", "NOTIFIER_CA_FILE": p.path("ca.pem"),
		}, "NOTIFIER_DATABASE_URL")
	}
	plan.add(p, "employee-svc", "employee-svc", "http://"+employeeHTTP, "employee", map[string]string{
		"EMPLOYEE_HTTP_ADDR": employeeHTTP, "EMPLOYEE_GRPC_ADDR": employeeGRPC,
		"EMPLOYEE_NOTIFIER_ADDR": notifiers[0], "EMPLOYEE_NOTIFIER_KEY": k.PublisherKey,
		"EMPLOYEE_API_KEYS": "hr:writer:" + k.WriterKey + ",banks:reader:" + k.ReaderKey,
	}, "EMPLOYEE_DATABASE_URL")
	for i := range p.cfg.Banks {
		if err := p.addBank(plan, i, notifiers[i%len(notifiers)], employeeGRPC); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

func (p *planner) addBank(plan *Plan, i int, notifier, employee string) error {
	name := bankName(i)
	httpAddr, err1 := p.addr(name + "-http")
	grpcAddr, err2 := p.addr(name + "-grpc")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if p.kept.Secrets[name] == "" {
		p.kept.Secrets[name] = webhook.NewSecret().Reveal()
	}
	secret, url := p.kept.Secrets[name], "https://"+httpAddr
	plan.Description.Banks = append(plan.Description.Banks, BankAccess{Name: name, URL: url, GRPC: grpcAddr, Key: p.kept.BankKey, WebhookSecret: secret})
	plan.add(p, name, "bank-svc", url, strings.ReplaceAll(name, "-", "_"), map[string]string{
		"BANK_NAME": name, "BANK_COUNTRY": countries[i%len(countries)], "BANK_HTTP_ADDR": httpAddr, "BANK_GRPC_ADDR": grpcAddr, "BANK_PUBLIC_URL": url,
		"BANK_TLS_CERT": p.path("tls.crt"), "BANK_TLS_KEY": p.path("tls.key"),
		"BANK_NOTIFIER_ADDR": notifier, "BANK_NOTIFIER_KEY": p.kept.NotifierKeys[name], "BANK_EMPLOYEE_ADDR": employee, "BANK_EMPLOYEE_KEY": p.kept.ReaderKey,
		"BANK_API_KEYS": "operator:operator:" + p.kept.BankKey, "BANK_WEBHOOK_SECRET": secret,
	}, "BANK_DATABASE_URL")
	return nil
}

// add puts a service into the plan, with a database of its own.
func (plan *Plan) add(p *planner, name, kind, base, database string, env map[string]string, urlSetting string) {
	if p.cfg.DatabaseURL == "" {
		env[urlSetting] = "sqlite:" + p.path(database+".db")
	} else {
		schema := "hirewire_" + p.kept.Instance + "_" + database
		separator := "?"
		if strings.Contains(p.cfg.DatabaseURL, "?") {
			separator = "&"
		}
		env[urlSetting] = p.cfg.DatabaseURL + separator + "search_path=" + schema
		if !slices.Contains(plan.Schemas, schema) {
			plan.Schemas = append(plan.Schemas, schema)
		}
	}
	maps.Copy(env, p.cfg.Env[kind])
	plan.Services = append(plan.Services, Service{Name: name, Kind: kind, Env: env, Ready: base + "/readyz"})
}

func bankName(i int) string { return fmt.Sprintf("bank-%d", i+1) }

// NewKey makes an API key or a password: 24 random bytes, fit for URLs and settings.
func NewKey() string { return base64.RawURLEncoding.EncodeToString(random(24)) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return b
}
