package employeesvc

import (
	"net/url"
	"strings"

	"hirewire.dev/employee-svc/internal/grpcapi"
	"hirewire.dev/platform/rpc"
	"hirewire.dev/platform/serve"
	"hirewire.dev/platform/settings"
)

// Config is how an employee service is set up; settings.Parse fills it from flags and the environment. In a Config made by
// hand, empty addresses take a free port on loopback; DatabaseURL, NotifierAddr, NotifierKey and APIKeys are required.
type Config struct {
	// HTTPAddr is where REST, health and metrics are served.
	HTTPAddr settings.Addr `env:"EMPLOYEE_HTTP_ADDR" default:"127.0.0.1:8001" group:"Addresses" help:"Where REST, health and metrics are served."`
	// GRPCAddr is where gRPC is served.
	GRPCAddr settings.Addr `env:"EMPLOYEE_GRPC_ADDR" default:"127.0.0.1:9001" group:"Addresses" help:"Where gRPC is served."`
	// DatabaseURL is "sqlite:PATH" or "postgres://…"; replicas share one.
	DatabaseURL settings.DatabaseURL `env:"EMPLOYEE_DATABASE_URL" default:"sqlite:./data/employee-svc.db" group:"Database" help:"sqlite:PATH or postgres://…; replicas share one."`

	// NotifierAddr is the notifier's gRPC address. A name with several addresses is spread over all of them.
	NotifierAddr settings.Addr `env:"EMPLOYEE_NOTIFIER_ADDR" default:"127.0.0.1:9002" group:"Notifier" help:"The notifier's gRPC address."`
	// NotifierKey is an API key of the notifier with the role publisher.
	NotifierKey settings.Secret `env:"EMPLOYEE_NOTIFIER_KEY" required:"" group:"Notifier" help:"API key of role publisher at the notifier."`
	// NotifierCAFile verifies the notifier's certificate; it turns TLS on.
	NotifierCAFile settings.File `env:"EMPLOYEE_NOTIFIER_CA_FILE" group:"Notifier" help:"CA by which the notifier is verified, PEM; turns TLS on."`
	// NotifierTLS turns TLS on with the system's CAs.
	NotifierTLS bool `env:"EMPLOYEE_NOTIFIER_TLS" group:"Notifier" help:"Speak TLS to the notifier, by the system's CAs."`
	// NotifierTLSCert and NotifierTLSKey are shown to a notifier that asks for a client certificate.
	NotifierTLSCert settings.File `env:"EMPLOYEE_NOTIFIER_TLS_CERT" group:"Notifier" help:"Client certificate to show to the notifier, PEM."`
	NotifierTLSKey  settings.File `env:"EMPLOYEE_NOTIFIER_TLS_KEY" group:"Notifier" help:"Its private key, PEM."`
	// NotifierPlaintext allows sending NotifierKey without TLS beyond loopback.
	NotifierPlaintext bool `env:"EMPLOYEE_NOTIFIER_PLAINTEXT" group:"Notifier" help:"Send the key without TLS beyond loopback: for a private network."`

	// APIKeys are those of the clients, with the roles writer and reader.
	APIKeys settings.APIKeys `env:"EMPLOYEE_API_KEYS" required:"" group:"API" help:"name:role:key,… with the roles writer (everything) and reader (get and list). A request_id is unique for the name."`
	// Reflection lets gRPC clients ask for the API's description.
	Reflection bool `env:"EMPLOYEE_GRPC_REFLECTION" group:"API" help:"Let gRPC clients ask for the API's description. For development."`

	// GRPCTLSCert and GRPCTLSKey turn TLS on for gRPC.
	GRPCTLSCert settings.File `env:"EMPLOYEE_GRPC_TLS_CERT" group:"TLS" help:"Certificate chain of the gRPC listener, PEM; without it gRPC is plaintext."`
	GRPCTLSKey  settings.File `env:"EMPLOYEE_GRPC_TLS_KEY" group:"TLS" help:"Its private key, PEM."`
	// GRPCClientCA asks gRPC clients, and those of the API over HTTPS, for a certificate that carries one of GRPCClientNames.
	GRPCClientCA    settings.File `env:"EMPLOYEE_GRPC_CLIENT_CA" group:"TLS" help:"Ask gRPC clients for a certificate of this CA, PEM. The API at /v1 then asks for it too, and is refused without HTTPS."`
	GRPCClientNames []string      `env:"EMPLOYEE_GRPC_CLIENT_NAMES" group:"TLS" help:"DNS or URI names, comma-separated, one of which the client's certificate must carry. Required with EMPLOYEE_GRPC_CLIENT_CA."`
	// HTTPTLSCert and HTTPTLSKey turn TLS on for HTTP.
	HTTPTLSCert settings.File `env:"EMPLOYEE_HTTP_TLS_CERT" group:"TLS" help:"Certificate chain of the HTTP listener, PEM; without it HTTP is plaintext."`
	HTTPTLSKey  settings.File `env:"EMPLOYEE_HTTP_TLS_KEY" group:"TLS" help:"Its private key, PEM."`

	// LogLevel and LogFormat are for the program; New is given its log.
	LogLevel  string `env:"EMPLOYEE_LOG_LEVEL" default:"info" enum:"debug,info,warn,error" group:"Logs" help:"The least level to log."`
	LogFormat string `env:"EMPLOYEE_LOG_FORMAT" default:"json" enum:"json,text" group:"Logs" help:"json or text."`
}

// check finds what depends on several settings. Errors name the setting.
func (c *Config) check() error {
	var wrong settings.Error
	for _, needed := range []struct{ name, value string }{
		{"EMPLOYEE_DATABASE_URL", string(c.DatabaseURL)},
		{"EMPLOYEE_NOTIFIER_ADDR", string(c.NotifierAddr)},
		{"EMPLOYEE_NOTIFIER_KEY", c.NotifierKey.Reveal()},
	} {
		if needed.value == "" {
			wrong.Add(needed.name, "required, but not set")
		}
	}
	if len(c.APIKeys) == 0 {
		wrong.Add("EMPLOYEE_API_KEYS", "required, but not set")
	}
	for _, k := range c.APIKeys {
		if role := rpc.Role(k.Role); role != grpcapi.Writer && role != grpcapi.Reader {
			wrong.Add("EMPLOYEE_API_KEYS", "the key %s has an unknown role: use %s or %s", k.Name, grpcapi.Writer, grpcapi.Reader)
		}
	}
	for _, pair := range []struct {
		name      string
		cert, key settings.File
	}{
		{"EMPLOYEE_GRPC_TLS", c.GRPCTLSCert, c.GRPCTLSKey},
		{"EMPLOYEE_HTTP_TLS", c.HTTPTLSCert, c.HTTPTLSKey},
		{"EMPLOYEE_NOTIFIER_TLS", c.NotifierTLSCert, c.NotifierTLSKey},
	} {
		if (pair.cert == "") != (pair.key == "") {
			wrong.Add(pair.name+"_CERT", "goes with %s_KEY: set both or neither", pair.name)
		}
	}
	if c.GRPCClientCA != "" && c.GRPCTLSCert == "" {
		wrong.Add("EMPLOYEE_GRPC_CLIENT_CA", "needs EMPLOYEE_GRPC_TLS_CERT")
	}
	if (c.GRPCClientCA == "") != (len(c.GRPCClientNames) == 0) {
		wrong.Add("EMPLOYEE_GRPC_CLIENT_NAMES", "goes with EMPLOYEE_GRPC_CLIENT_CA: set both or neither")
	}
	return wrong.Err()
}

// keys are the API keys with their roles.
func (c *Config) keys() rpc.StaticKeys {
	var keys rpc.StaticKeys
	for _, k := range c.APIKeys {
		keys = append(keys, rpc.StaticKey(rpc.Identity{Name: k.Name, Role: rpc.Role(k.Role)}, k.Key.Reveal())...)
	}
	return keys
}

func (c *Config) notifier() serve.ClientConfig {
	return serve.ClientConfig{
		Addr: string(c.NotifierAddr), Key: c.NotifierKey.Reveal(), CAFile: string(c.NotifierCAFile), TLS: c.NotifierTLS,
		CertFile: string(c.NotifierTLSCert), KeyFile: string(c.NotifierTLSKey), Plaintext: c.NotifierPlaintext,
	}
}

func (c *Config) grpcTLS() *serve.TLS {
	if c.GRPCTLSCert == "" {
		return nil
	}
	return &serve.TLS{
		CertFile: string(c.GRPCTLSCert), KeyFile: string(c.GRPCTLSKey), ClientCAFile: string(c.GRPCClientCA), ClientNames: c.GRPCClientNames,
	}
}

func (c *Config) httpTLS() *serve.TLS {
	if c.HTTPTLSCert == "" {
		return nil
	}
	return &serve.TLS{
		CertFile: string(c.HTTPTLSCert), KeyFile: string(c.HTTPTLSKey),
		ClientCAFile: string(c.GRPCClientCA), ClientNames: c.GRPCClientNames, ClientOptional: true, // the API demands what gRPC does
	}
}

// databaseURL is the URL with what the planner needs to know. Every statement of the hot path goes through an index; on a
// table that is empty when the statement is planned, PostgreSQL would choose to read it whole, and go on so as it grows.
// Compiling a plan takes longer than running any of ours.
func (c *Config) databaseURL() string {
	raw := c.DatabaseURL.Reveal()
	if !strings.HasPrefix(raw, "postgres") {
		return raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return raw // the error is told by who opens it
	}
	q := u.Query()
	for _, setting := range []string{"enable_seqscan", "jit"} {
		if !q.Has(setting) {
			q.Set(setting, "off")
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// orLoopback is the address, or a free port of loopback.
func orLoopback(a settings.Addr) string {
	if a == "" {
		return "127.0.0.1:0"
	}
	return string(a)
}
