package settings_test

import (
	"fmt"
	"os"

	"hirewire.dev/platform/settings"
)

// A program's main parses its configuration and, when that fails, ends with
// the status that ExitCode gives.
func ExampleParse() {
	var cfg struct {
		HTTPAddr settings.Addr   `env:"BANK_HTTP_ADDR" default:"127.0.0.1:8003" group:"Addresses" help:"Where REST is served."`
		Key      settings.Secret `env:"BANK_NOTIFIER_KEY" required:"" group:"Notifier" help:"The key to register webhooks with."`
	}
	environment := map[string]string{"BANK_HTTP_ADDR": "nowhere"}
	err := settings.Parse(&cfg, nil,
		settings.Program("bank-svc", "Opens an account for each employee."),
		settings.Lookup(func(name string) (string, bool) { v, ok := environment[name]; return v, ok }))
	status := settings.ExitCode("bank-svc", err, os.Stdout)
	fmt.Println("status", status)
	// Output:
	// bank-svc: BANK_HTTP_ADDR (--bank-http-addr): must be host:port
	// bank-svc: BANK_NOTIFIER_KEY (--bank-notifier-key): required, but not set
	// bank-svc: see --help
	// status 2
}
