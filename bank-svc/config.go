package banksvc

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"hirewire.dev/bank-svc/internal/grpcapi"
	"hirewire.dev/platform/rpc"
	"hirewire.dev/platform/settings"
	"hirewire.dev/webhook"
)

// WebhookPath is where the notifier delivers.
const WebhookPath = "/webhooks/employees"

// Config is how a bank is set up; settings.Parse fills it from flags and the environment. In a Config made by hand,
// Name, Country, the addresses, TLSCert, TLSKey, DatabaseURL, EmployeeKey, APIKeys and ReconcileInterval are required; what
// else is empty is off, or as its comment says.
type Config struct {
	// Name is the bank's and its subscription's: 1 to 128 bytes. The database belongs to it.
	Name string `env:"BANK_NAME" required:"" group:"Bank" help:"The bank's name, and the name of its subscription. It stays: its database belongs to it."`
	// Country is the ISO 3166 code of the country whose account numbers the bank issues. It stays, too.
	Country string `env:"BANK_COUNTRY" default:"DE" group:"Bank" help:"ISO 3166 code of the country whose account numbers the bank issues. It stays, too."`
	Code    string `env:"BANK_CODE" group:"Bank" help:"The bank's code in the account numbers of its country, with the branch where they have one, such as 37040044. Default: made of BANK_NAME; where codes are short, two banks may get the same. New accounts have it, old ones keep their numbers."`

	// HTTPAddr is where the webhook, REST, health and metrics are served, over HTTPS.
	HTTPAddr settings.Addr `env:"BANK_HTTP_ADDR" default:"127.0.0.1:8003" group:"Addresses" help:"Where the webhook and REST are served, over HTTPS only."`
	// GRPCAddr is where gRPC is served.
	GRPCAddr settings.Addr `env:"BANK_GRPC_ADDR" default:"127.0.0.1:9003" group:"Addresses" help:"Where gRPC is served."`
	// PublicURL is by what the notifier reaches HTTPAddr: https://host[:port][/path]. Empty: the address that HTTPAddr is bound to.
	PublicURL string `env:"BANK_PUBLIC_URL" group:"Addresses" help:"https://… by which the notifier reaches BANK_HTTP_ADDR; the webhook is at /webhooks/employees below it. Default: https:// and BANK_HTTP_ADDR."`

	// TLSCert and TLSKey are the HTTPS listener's.
	TLSCert settings.File `env:"BANK_TLS_CERT" required:"" group:"TLS" help:"Certificate chain of the HTTPS listener, PEM. Read again when it changes."`
	TLSKey  settings.File `env:"BANK_TLS_KEY" required:"" group:"TLS" help:"Its private key, PEM."`
	// ClientCA asks HTTPS clients for a certificate that carries one of ClientNames: set both or neither.
	ClientCA    settings.File `env:"BANK_CLIENT_CA" group:"TLS" help:"Ask HTTPS clients, so the notifier too, for a certificate of this CA, PEM."`
	ClientNames Names         `env:"BANK_CLIENT_NAMES" group:"TLS" help:"DNS or URI names, comma-separated, one of which the client's certificate must carry. Required with BANK_CLIENT_CA."`
	// GRPCCert and GRPCKey turn TLS on for gRPC.
	GRPCCert settings.File `env:"BANK_GRPC_TLS_CERT" group:"TLS" help:"Certificate chain of the gRPC listener, PEM; without it gRPC is plaintext."`
	GRPCKey  settings.File `env:"BANK_GRPC_TLS_KEY" group:"TLS" help:"Its private key, PEM."`
	// CAFile verifies the notifier and employee-svc; it turns TLS to them on. Without it both are on loopback.
	CAFile settings.File `env:"BANK_CA_FILE" group:"TLS" help:"CA by which the notifier and employee-svc are verified, PEM; turns TLS to them on."`

	// DatabaseURL is "sqlite:PATH" or "postgres://…"; this bank's alone, shared by its replicas.
	DatabaseURL settings.DatabaseURL `env:"BANK_DATABASE_URL" default:"sqlite:./data/bank-svc.db" group:"Database" help:"sqlite:PATH or postgres://…; of this bank alone, shared by its replicas."`

	// NotifierAddr is the notifier's gRPC address.
	NotifierAddr settings.Addr `env:"BANK_NOTIFIER_ADDR" default:"127.0.0.1:9002" group:"Neighbours" help:"The notifier's gRPC address."`
	// NotifierKey is an API key of the notifier with the role bank, required with Register.
	NotifierKey settings.Secret `env:"BANK_NOTIFIER_KEY" group:"Neighbours" help:"API key of role bank at the notifier. Required unless BANK_REGISTER is false."`
	// EmployeeAddr is the gRPC address of employee-svc.
	EmployeeAddr settings.Addr `env:"BANK_EMPLOYEE_ADDR" default:"127.0.0.1:9001" group:"Neighbours" help:"The gRPC address of employee-svc."`
	// EmployeeKey is an API key of employee-svc with the role reader.
	EmployeeKey settings.Secret `env:"BANK_EMPLOYEE_KEY" required:"" group:"Neighbours" help:"API key of role reader at employee-svc."`

	// Register creates the subscription at the notifier and keeps it in order.
	Register bool `env:"BANK_REGISTER" default:"true" negatable:"" group:"Webhook" help:"Create the subscription at the notifier and keep it in order; false: somebody does that by hand."`
	// WebhookSecrets are trusted; the first one is registered. Empty: one that is made at the first start and kept in the database.
	WebhookSecrets WebhookSecrets `env:"BANK_WEBHOOK_SECRET" group:"Webhook" help:"whsec_…, comma-separated: the first one is registered, all are trusted. Default: one that is made at the first start and kept in the database."`
	// WebhookPublicKeys are Ed25519 keys that are trusted as well.
	WebhookPublicKeys PublicKeys `env:"BANK_WEBHOOK_PUBLIC_KEYS" group:"Webhook" help:"whpk_…, comma-separated: Ed25519 keys that are trusted as well."`
	// Filter is CEL over the event; empty: every event. Reconciliation does not know it.
	Filter string `env:"BANK_EVENT_FILTER" group:"Webhook" help:"CEL over the event, such as event.data.employee.country == \"DE\". Reconciliation does not know it."`
	// Payload is FULL or THIN; empty is FULL.
	Payload string `env:"BANK_PAYLOAD" default:"FULL" enum:"FULL,THIN" group:"Webhook" help:"FULL events, or THIN ones without personal data, for which the bank then asks employee-svc."`

	// APIKeys are those of the clients, with the roles operator and viewer.
	APIKeys settings.APIKeys `env:"BANK_API_KEYS" required:"" group:"API" help:"name:role:key,… with the roles operator (everything) and viewer (reading)."`
	// Reflection lets gRPC clients ask for the API's description.
	Reflection bool `env:"BANK_GRPC_REFLECTION" group:"API" help:"Let gRPC clients ask for the API's description."`
	// ReconcileInterval is the time between two walks over the source of truth, at least a minute.
	ReconcileInterval time.Duration `env:"BANK_RECONCILE_INTERVAL" default:"1h" group:"Reconciliation" help:"Between two walks over the source of truth; 1m at least."`

	// LogLevel and LogFormat are for the program; New is given its log.
	LogLevel  string `env:"BANK_LOG_LEVEL" default:"info" enum:"debug,info,warn,error" group:"Logs" help:"The least level to log."`
	LogFormat string `env:"BANK_LOG_FORMAT" default:"json" enum:"json,text" group:"Logs" help:"json or text."`
}

const minInterval = time.Minute

// check finds what settings cannot: what depends on several of them.
func (c *Config) check() error {
	var wrong settings.Error
	if strings.TrimSpace(c.Name) != c.Name || c.Name == "" || len(c.Name) > 128 {
		wrong.Add("BANK_NAME", "must have 1 to 128 bytes, and no space around it")
	}
	for _, k := range c.APIKeys {
		if role := rpc.Role(k.Role); role != grpcapi.Operator && role != grpcapi.Viewer {
			wrong.Add("BANK_API_KEYS", "the key %s has an unknown role: use %s or %s", k.Name, grpcapi.Operator, grpcapi.Viewer)
		}
	}
	if c.Register && c.NotifierKey.Reveal() == "" {
		wrong.Add("BANK_NOTIFIER_KEY", "required, but not set")
	}
	if (c.ClientCA == "") != (len(c.ClientNames) == 0) {
		wrong.Add("BANK_CLIENT_NAMES", "goes with BANK_CLIENT_CA: set both or neither")
	}
	if (c.GRPCCert == "") != (c.GRPCKey == "") {
		wrong.Add("BANK_GRPC_TLS_KEY", "goes with BANK_GRPC_TLS_CERT: set both or neither")
	}
	if c.ReconcileInterval < minInterval {
		wrong.Add("BANK_RECONCILE_INTERVAL", "must be 1m at least")
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" &&
		(err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		wrong.Add("BANK_PUBLIC_URL", "must be https://host[:port][/path]")
	}
	return wrong.Err()
}

// webhookURL is where the notifier is told to deliver.
func (c *Config) webhookURL(bound string) string {
	base := strings.TrimSuffix(c.PublicURL, "/")
	if base == "" {
		base = bound
	}
	if strings.HasSuffix(base, WebhookPath) {
		return base
	}
	return base + WebhookPath
}

// WebhookSecrets is a list of "whsec_…", comma-separated. It prints as ***.
type WebhookSecrets []webhook.Secret

// UnmarshalText checks and sets the list.
func (l *WebhookSecrets) UnmarshalText(text []byte) error {
	return list(text, "whsec_… secret", (*[]webhook.Secret)(l), webhook.ParseSecret)
}

// IsSecret gives the setting a …_FILE twin.
func (WebhookSecrets) IsSecret() {}

// PublicKeys is a list of "whpk_…", comma-separated.
type PublicKeys []webhook.PublicKey

// UnmarshalText checks and sets the list.
func (l *PublicKeys) UnmarshalText(text []byte) error {
	return list(text, "whpk_… key", (*[]webhook.PublicKey)(l), webhook.ParsePublicKey)
}

// Names is a list of names, comma-separated.
type Names []string

// UnmarshalText checks and sets the list.
func (l *Names) UnmarshalText(text []byte) error {
	return list(text, "name", (*[]string)(l), func(name string) (string, error) {
		if name == "" {
			return "", errors.New("empty")
		}
		return name, nil
	})
}

// list reads comma-separated items. Its errors do not repeat them.
func list[T any](text []byte, what string, into *[]T, parse func(string) (T, error)) error {
	var all []T
	for item := range strings.SplitSeq(string(text), ",") {
		v, err := parse(strings.TrimSpace(item))
		if err != nil {
			return fmt.Errorf("item %d is not a %s", len(all)+1, what)
		}
		all = append(all, v)
	}
	*into = all
	return nil
}
