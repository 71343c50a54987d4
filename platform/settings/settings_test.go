package settings_test

import (
	"strings"
	"testing"

	"hirewire.dev/platform/settings"
)

type config struct {
	HTTPAddr settings.Addr        `env:"X_HTTP_ADDR" default:"127.0.0.1:8001" group:"Addresses" help:"Where REST is served."`
	Database settings.DatabaseURL `env:"X_DATABASE_URL" default:"sqlite:./data/x.db" help:"The database."`
	Key      settings.Secret      `env:"X_KEY" required:"" help:"The key."`
	Master   settings.Key32       `env:"X_MASTER" help:"Master key."`
	Keys     settings.APIKeys     `env:"X_API_KEYS" help:"Keys."`
	Allow    settings.CIDRs       `env:"X_ALLOW" help:"CIDRs."`
	Schedule settings.Durations   `env:"X_SCHEDULE" default:"0,5s" help:"Schedule."`
	Name     string               `env:"X_NAME" default:"x" help:"Name."`
	Reflect  bool                 `env:"X_REFLECT" help:"Reflection."`
	Level    string               `env:"X_LEVEL" enum:"debug,info" default:"info" help:"Level."`
}

func TestHelp(t *testing.T) {
	var out strings.Builder
	var c config
	err := settings.Parse(&c, []string{"--help"}, settings.Output(&out), settings.Program("x", "Does x."))
	t.Log(err, "\n", out.String())
	err = settings.Parse(&c, []string{"--x-key=abc", "--x-http-addr", "foo"})
	t.Log(err)
	err = settings.Parse(&c, []string{"--x-key=abcabcabcabcabcabcabcabcabcabcabc", "--x-http-addr", ":0"})
	t.Log(err)
	t.Logf("%+v", c)
}
