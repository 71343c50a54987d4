package notifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/egress"
	"hirewire.dev/notifier/internal/secret"
	"hirewire.dev/platform/settings"
	"hirewire.dev/platform/telemetry"
)

// Config is how a notifier is set up; settings.Parse fills it from flags and the environment. In a Config made by hand, the
// addresses, DatabaseURL, MasterKey and everything about delivery and retention are required; what else is empty is off.
type Config struct {
	// HTTPAddr is where REST, health and metrics are served.
	HTTPAddr settings.Addr `env:"NOTIFIER_HTTP_ADDR" default:"127.0.0.1:8002" group:"Addresses" help:"Where REST, health and metrics are served."`
	// GRPCAddr is where gRPC is served.
	GRPCAddr settings.Addr `env:"NOTIFIER_GRPC_ADDR" default:"127.0.0.1:9002" group:"Addresses" help:"Where gRPC is served."`
	// DatabaseURL is "sqlite:PATH" or "postgres://…"; replicas share one.
	DatabaseURL settings.DatabaseURL `env:"NOTIFIER_DATABASE_URL" default:"sqlite:./data/notifier.db" group:"Addresses" help:"sqlite:PATH or postgres://…"`

	// AdminKey is a key with the role admin, required until the database has one.
	AdminKey settings.Secret `env:"NOTIFIER_ADMIN_KEY" group:"Keys" help:"A key with the role admin. Needed until another admin key exists."`
	// APIKeys are further keys, which are always in force.
	APIKeys settings.APIKeys `env:"NOTIFIER_API_KEYS" group:"Keys" help:"Further keys, name:role:key,… with the roles admin, publisher, bank and viewer."`
	// MasterKey is what secrets are sealed with; all replicas have the same.
	MasterKey MasterKey `env:"NOTIFIER_MASTER_KEY" required:"" group:"Keys" help:"What secrets are sealed with: the base64 of 32 bytes, or the URL of a key (awskms://…, gcpkms://…)."`
	// OldMasterKeys open what was sealed before; Rewrap makes them unnecessary.
	OldMasterKeys MasterKeys `env:"NOTIFIER_OLD_MASTER_KEYS" group:"Keys" help:"Earlier master keys, comma-separated, until \"notifier rewrap\" has run."`

	// GRPCTLSCert and GRPCTLSKey turn TLS on for gRPC.
	GRPCTLSCert settings.File `env:"NOTIFIER_GRPC_TLS_CERT" group:"TLS" help:"Certificate of the gRPC listener (PEM)."`
	GRPCTLSKey  settings.File `env:"NOTIFIER_GRPC_TLS_KEY" group:"TLS" help:"Its key (PEM)."`
	// GRPCClientCA asks clients of the API for a certificate that carries one of GRPCClientNames; without names nobody has one.
	GRPCClientCA    settings.File `env:"NOTIFIER_GRPC_CLIENT_CA" group:"TLS" help:"Ask gRPC clients for a certificate of this CA (PEM). The API at /v1 then asks for it too, and is refused without HTTPS."`
	GRPCClientNames []string      `env:"NOTIFIER_GRPC_CLIENT_NAMES" group:"TLS" help:"Names, comma-separated, one of which the client's certificate must carry; empty: nobody."`
	// HTTPTLSCert and HTTPTLSKey turn TLS on for HTTP.
	HTTPTLSCert settings.File `env:"NOTIFIER_HTTP_TLS_CERT" group:"TLS" help:"Certificate of the HTTP listener (PEM)."`
	HTTPTLSKey  settings.File `env:"NOTIFIER_HTTP_TLS_KEY" group:"TLS" help:"Its key (PEM)."`

	// AllowCIDRs are ranges to send to although they are not public, none wider than /8 (IPv4) or /7 (IPv6).
	AllowCIDRs settings.CIDRs `env:"NOTIFIER_ALLOW_CIDRS" group:"Towards receivers" help:"Address ranges to send to although they are not public, such as 10.1.0.0/16."`
	// AllowPorts are ports below 1024 to send to besides 443.
	AllowPorts []uint16 `env:"NOTIFIER_ALLOW_PORTS" group:"Towards receivers" help:"Ports below 1024 to send to besides 443."`
	// AllowHTTP admits plain http:// URLs.
	AllowHTTP bool `env:"NOTIFIER_ALLOW_HTTP" group:"Towards receivers" help:"Send to plain http:// URLs too. For development."`
	// CAFile is trusted besides the system's CAs.
	CAFile settings.File `env:"NOTIFIER_CA_FILE" group:"Towards receivers" help:"A CA to trust besides the system's (PEM)."`
	// ClientCert and ClientKey are shown to receivers that ask for a certificate.
	ClientCert settings.File `env:"NOTIFIER_CLIENT_CERT" group:"Towards receivers" help:"Certificate to show to receivers that ask for one (PEM)."`
	ClientKey  settings.File `env:"NOTIFIER_CLIENT_KEY" group:"Towards receivers" help:"Its key (PEM)."`
	// EgressAddresses are only shown to receivers, never used.
	EgressAddresses settings.CIDRs `env:"NOTIFIER_EGRESS_ADDRESSES" group:"Towards receivers" help:"Where webhooks come from, as seen from outside; shown at /.well-known/webhook-sources."`

	// RetrySchedule is the wait before each attempt, the first included: 1 to 100 entries. A subscription may have its own.
	RetrySchedule settings.Durations `env:"NOTIFIER_RETRY_SCHEDULE" default:"0,5s,5m,30m,2h,5h,10h,14h,20h,24h" group:"Delivery" help:"The wait before each attempt."`
	// WarnAfter and DisableAfter are how long a subscription may have nothing but failures; WarnAfter is not the longer one.
	WarnAfter    time.Duration `env:"NOTIFIER_WARN_AFTER" default:"1h" group:"Delivery" help:"Tell the owner of a subscription that has had nothing but failures for this long."`
	DisableAfter time.Duration `env:"NOTIFIER_DISABLE_AFTER" default:"120h" group:"Delivery" help:"Disable it after this long."`

	// Retention is how long what has ended is kept, and how old an event may be when it is published.
	Retention time.Duration `env:"NOTIFIER_RETENTION" default:"720h" group:"Retention" help:"How long events, deliveries and attempts are kept."`
	// PayloadRetention is how long the payloads are; of no effect beyond Retention.
	PayloadRetention time.Duration `env:"NOTIFIER_PAYLOAD_RETENTION" default:"720h" group:"Retention" help:"How long payloads are kept, if that is shorter."`

	// Reflection lets gRPC clients ask for the API's description.
	Reflection bool `env:"NOTIFIER_GRPC_REFLECTION" group:"Operation" help:"Answer gRPC reflection. For development."`
	// LogLevel and LogFormat are for the program; New is given its log.
	LogLevel  string `env:"NOTIFIER_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" group:"Operation" help:"debug, info, warn or error."`
	LogFormat string `env:"NOTIFIER_LOG_FORMAT" enum:"json,text" default:"json" group:"Operation" help:"json or text."`
}

// adminKey is the name of the key that is AdminKey.
const adminKey = "admin"

// MasterKey is what secrets are sealed with: the base64 of 32 bytes, or the URL of a key in a key management service.
type MasterKey struct{ telemetry.Secret }

// UnmarshalText sets the key. Whether it is one is seen when it is opened.
func (k *MasterKey) UnmarshalText(text []byte) error {
	if err := secret.CheckMaster(string(text)); err != nil {
		return err
	}
	k.Secret = telemetry.Secret(text)
	return nil
}

// IsSecret gives the setting a …_FILE twin.
func (MasterKey) IsSecret() {}

// NewMasterKey wraps a key that a program made itself.
func NewMasterKey(key string) MasterKey { return MasterKey{telemetry.Secret(key)} }

// MasterKeys is a list of them, comma-separated.
type MasterKeys []MasterKey

// UnmarshalText sets the list.
func (l *MasterKeys) UnmarshalText(text []byte) error {
	var keys MasterKeys
	for i, item := range splitList(string(text)) {
		var k MasterKey
		if err := k.UnmarshalText([]byte(item)); err != nil {
			return fmt.Errorf("entry %d %w", i+1, err)
		}
		keys = append(keys, k)
	}
	*l = keys
	return nil
}

// IsSecret gives the setting a …_FILE twin.
func (MasterKeys) IsSecret() {}

// check reports every setting that is wrong, by its name.
func (c Config) check() error {
	var wrong settings.Error
	for _, k := range c.APIKeys {
		if err := access.Check(k.Name, access.Role(k.Role)); err != nil {
			wrong.Add("NOTIFIER_API_KEYS", "the key %q: %v", k.Name, err)
		}
		if access.Role(k.Role) != access.Admin && (k.Name == adminKey && c.AdminKey.Reveal() != "" || k.Key.Reveal() == c.AdminKey.Reveal()) {
			wrong.Add("NOTIFIER_API_KEYS", "the key %q has the name or the secret of NOTIFIER_ADMIN_KEY, and another role", k.Name)
		}
	}
	if c.MasterKey.Reveal() == "" {
		wrong.Add("NOTIFIER_MASTER_KEY", "required, but not set")
	}
	for _, pair := range []struct{ certName, keyName, cert, key string }{
		{"NOTIFIER_GRPC_TLS_CERT", "NOTIFIER_GRPC_TLS_KEY", c.GRPCTLSCert.String(), c.GRPCTLSKey.String()},
		{"NOTIFIER_HTTP_TLS_CERT", "NOTIFIER_HTTP_TLS_KEY", c.HTTPTLSCert.String(), c.HTTPTLSKey.String()},
		{"NOTIFIER_CLIENT_CERT", "NOTIFIER_CLIENT_KEY", c.ClientCert.String(), c.ClientKey.String()},
	} {
		if (pair.cert == "") != (pair.key == "") {
			wrong.Add(pair.certName, "goes together with %s", pair.keyName)
		}
	}
	if c.GRPCClientCA != "" && c.GRPCTLSCert == "" {
		wrong.Add("NOTIFIER_GRPC_CLIENT_CA", "needs NOTIFIER_GRPC_TLS_CERT")
	}
	if len(c.GRPCClientNames) > 0 && c.GRPCClientCA == "" {
		wrong.Add("NOTIFIER_GRPC_CLIENT_NAMES", "needs NOTIFIER_GRPC_CLIENT_CA")
	}
	for _, p := range c.AllowCIDRs {
		if err := egress.CheckAllow(p); err != nil {
			wrong.Add("NOTIFIER_ALLOW_CIDRS", "%v", err)
		}
	}
	if len(c.RetrySchedule) == 0 || len(c.RetrySchedule) > 100 {
		wrong.Add("NOTIFIER_RETRY_SCHEDULE", "must have 1 to 100 entries")
	}
	if c.DisableAfter <= 0 || c.WarnAfter <= 0 || c.WarnAfter > c.DisableAfter {
		wrong.Add("NOTIFIER_WARN_AFTER", "must be positive and at most NOTIFIER_DISABLE_AFTER")
	}
	if c.Retention <= 0 {
		wrong.Add("NOTIFIER_RETENTION", "must be positive")
	}
	if c.PayloadRetention <= 0 {
		wrong.Add("NOTIFIER_PAYLOAD_RETENTION", "must be positive")
	}
	return wrong.Err()
}

// warn tells of settings that may be meant, but rarely are.
func (c Config) warn(ctx context.Context, log *slog.Logger) {
	var schedule time.Duration
	for _, wait := range c.RetrySchedule {
		schedule += wait
	}
	if c.Retention < schedule {
		log.WarnContext(ctx, "NOTIFIER_RETENTION is shorter than NOTIFIER_RETRY_SCHEDULE takes: an event that is published again late is refused",
			"retention", c.Retention, "schedule", schedule)
	}
}

// openBox opens the master keys and what they sealed.
func (c Config) openBox(ctx context.Context, store secret.Store, newID func(string) string) (*secret.Box, error) {
	current, err := secret.OpenMaster(ctx, c.MasterKey.Reveal())
	if err != nil {
		return nil, fmt.Errorf("NOTIFIER_MASTER_KEY: %w", err)
	}
	var old []secret.Master
	for i, k := range c.OldMasterKeys {
		m, err := secret.OpenMaster(ctx, k.Reveal())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("NOTIFIER_OLD_MASTER_KEYS: entry %d: %w", i+1, err), current.Close())
		}
		old = append(old, m)
	}
	box, err := secret.NewBox(ctx, store, newID, current, old...)
	if errors.Is(err, secret.ErrUnknownKey) {
		return nil, fmt.Errorf("NOTIFIER_MASTER_KEY: %w; give the earlier key in NOTIFIER_OLD_MASTER_KEYS and run \"notifier rewrap\"", err)
	}
	return box, err
}
