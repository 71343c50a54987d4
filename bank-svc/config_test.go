package banksvc

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hirewire.dev/platform/settings"
	"hirewire.dev/webhook"
)

func TestSettings(t *testing.T) {
	one, two, key := webhook.NewSecret(), webhook.NewSecret(), webhook.NewPrivateKey().Public()
	env := map[string]string{
		"BANK_NAME": "Nord", "BANK_COUNTRY": "NO", "BANK_TLS_CERT": certs().cert, "BANK_TLS_KEY": certs().key,
		"BANK_NOTIFIER_KEY": strings.Repeat("n", 24), "BANK_EMPLOYEE_KEY": strings.Repeat("e", 24),
		"BANK_API_KEYS":       "op:operator:" + strings.Repeat("o", 24),
		"BANK_WEBHOOK_SECRET": one.Reveal() + ", " + two.Reveal(), "BANK_WEBHOOK_PUBLIC_KEYS": key.String(),
		"BANK_CLIENT_CA": certs().cert, "BANK_CLIENT_NAMES": "a.test,b.test", "BANK_REGISTER": "false", "BANK_PAYLOAD": "THIN",
	}
	parse := func(cfg *Config) error {
		return settings.Parse(cfg, nil, settings.Lookup(func(name string) (string, bool) { v, ok := env[name]; return v, ok }))
	}
	var cfg Config
	if err := parse(&cfg); err != nil {
		t.Fatal(err)
	}
	if len(cfg.WebhookSecrets) != 2 || !cfg.WebhookSecrets[0].Equal(one) || len(cfg.WebhookPublicKeys) != 1 || len(cfg.ClientNames) != 2 ||
		cfg.Register || cfg.Payload != "THIN" || cfg.HTTPAddr != "127.0.0.1:8003" || cfg.ReconcileInterval != time.Hour {
		t.Errorf("%+v", cfg)
	}
	if err := cfg.check(); err != nil {
		t.Error(err)
	}
	for name, value := range map[string]string{
		"BANK_WEBHOOK_SECRET": "hwsec_C2FVsBQIhrscChlQIM+b5sSYspob", "BANK_WEBHOOK_PUBLIC_KEYS": "whpk_x", "BANK_PAYLOAD": "HALF",
		"BANK_API_KEYS": "op:operator:short", "BANK_EMPLOYEE_KEY": "short", "BANK_HTTP_ADDR": "8003", "BANK_CLIENT_NAMES": "a,,b",
	} {
		before, had := env[name]
		env[name] = value
		err := parse(&Config{})
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "C2FVsB") {
			t.Errorf("%s: %v", name, err)
		}
		if env[name] = before; !had {
			delete(env, name)
		}
	}
}

// A setting that does not fit stops the start before anything is bound, with its name.
func TestBadSettingsStopTheStart(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"BANK_NAME":               func(c *Config) { c.Name = "" },
		"BANK_COUNTRY":            func(c *Config) { c.Country = "ZZ" },
		"BANK_CODE":               func(c *Config) { c.Code = "12-34" },
		"BANK_PUBLIC_URL":         func(c *Config) { c.PublicURL = "http://bank.test" },
		"BANK_CLIENT_NAMES":       func(c *Config) { c.ClientCA = c.TLSCert },
		"BANK_GRPC_TLS_KEY":       func(c *Config) { c.GRPCCert = c.TLSCert },
		"BANK_RECONCILE_INTERVAL": func(c *Config) { c.ReconcileInterval = time.Second },
		"BANK_API_KEYS":           func(c *Config) { c.APIKeys[0].Role = "king" },
		"BANK_NOTIFIER_KEY":       func(c *Config) { c.Register, c.NotifierKey = true, settings.NewSecret("") },
		"BANK_CA_FILE":            func(c *Config) { c.EmployeeAddr = "10.0.0.1:9001" }, // the key would travel in the clear
		"BANK_DATABASE_URL":       func(c *Config) { c.DatabaseURL = "sqlite:/proc/none/bank.db" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config("sqlite:"+filepath.Join(t.TempDir(), "bank.db"), webhook.NewSecret())
			change(&cfg)
			s, err := New(t.Context(), cfg, slog.New(slog.DiscardHandler))
			if err == nil {
				_ = s.Close()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), name) {
				t.Errorf("the error does not name the setting: %v", err)
			}
		})
	}
}

func TestNewWithoutALog(t *testing.T) {
	s, err := New(t.Context(), config("sqlite:"+filepath.Join(t.TempDir(), "bank.db"), webhook.NewSecret()), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestWebhookURL(t *testing.T) {
	for public, want := range map[string]string{
		"":                                     "https://127.0.0.1:8003/webhooks/employees",
		"https://bank.test":                    "https://bank.test/webhooks/employees",
		"https://bank.test:8443/":              "https://bank.test:8443/webhooks/employees",
		"https://proxy.test/nord":              "https://proxy.test/nord/webhooks/employees",
		"https://bank.test/webhooks/employees": "https://bank.test/webhooks/employees",
	} {
		if got := (&Config{PublicURL: public}).webhookURL("https://127.0.0.1:8003"); got != want {
			t.Errorf("%q: %s", public, got)
		}
	}
}
