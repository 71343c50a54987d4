package settings_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/platform/settings"
)

const secret = "a-secret-of-24-characters-or-more"

type config struct {
	HTTPAddr settings.Addr        `env:"BANK_HTTP_ADDR" default:"127.0.0.1:8003" group:"Addresses" help:"Where REST is served."`
	Database settings.DatabaseURL `env:"BANK_DATABASE_URL" default:"sqlite:./data/bank.db" help:"The database."`
	Key      settings.Secret      `env:"BANK_NOTIFIER_KEY" required:"" help:"The key."`
	Keys     settings.APIKeys     `env:"BANK_API_KEYS" help:"Who may call."`
	Allow    settings.CIDRs       `env:"BANK_ALLOW_CIDRS" help:"Where to."`
	Schedule settings.Durations   `env:"BANK_RETRY_SCHEDULE" default:"0,5s" help:"When."`
	CA       settings.File        `env:"BANK_CA_FILE" help:"Whom to trust."`
	Name     string               `env:"BANK_NAME" default:"bank" help:"Its name."`
	Token    string               `env:"BANK_TOKEN" secret:"" help:"Something."`
	Reflect  bool                 `env:"BANK_REFLECTION" help:"Serve reflection."`
	Every    time.Duration        `env:"BANK_EVERY" default:"1m" help:"How often."`
	Workers  int                  `env:"BANK_WORKERS" default:"4" help:"How many."`
	logging
}

type logging struct {
	LogLevel  string `env:"LOG_LEVEL" enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL" group:"Logging" help:"What is logged."`
	LogFormat string `env:"LOG_FORMAT" enum:"json,text" default:"json" group:"Logging" help:"How."`
}

// parse parses with the required key set, unless env says otherwise.
func parse(t *testing.T, env map[string]string, args ...string) (config, error) {
	t.Helper()
	lookup := func(name string) (string, bool) {
		v, ok := env[name]
		if !ok && name == "BANK_NOTIFIER_KEY" && env["BANK_NOTIFIER_KEY_FILE"] == "" {
			return secret, true
		}
		return v, ok
	}
	var c config
	err := settings.Parse(&c, args, settings.Lookup(lookup), settings.Program("bank-svc", "Opens accounts."))
	return c, err
}

func TestDefaultsEnvironmentAndFlags(t *testing.T) {
	c, err := parse(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTPAddr != "127.0.0.1:8003" || c.Database != "sqlite:./data/bank.db" || c.Name != "bank" || c.Every != time.Minute || c.Workers != 4 || c.LogLevel != "info" || c.Reflect {
		t.Errorf("defaults: %+v", c)
	}
	if diff := cmp.Diff(settings.Durations{0, 5 * time.Second}, c.Schedule); diff != "" {
		t.Error(diff)
	}
	env := map[string]string{
		"BANK_HTTP_ADDR": ":0", "BANK_NAME": "north", "BANK_REFLECTION": "true", "BANK_EVERY": "5s", "BANK_WORKERS": "8", "LOG_LEVEL": "debug",
		"BANK_RETRY_SCHEDULE": "1s, 2m", "BANK_ALLOW_CIDRS": "127.0.0.0/8, ::1/128", "BANK_DATABASE_URL": "", // empty is not set
	}
	if c, err = parse(t, env, "--bank-name=south", "--bank-workers", "9"); err != nil {
		t.Fatal(err)
	}
	if c.HTTPAddr != ":0" || c.Name != "south" || !c.Reflect || c.Every != 5*time.Second || c.Workers != 9 || c.LogLevel != "debug" || c.Database != "sqlite:./data/bank.db" {
		t.Errorf("%+v", c)
	}
	if diff := cmp.Diff(settings.Durations{time.Second, 2 * time.Minute}, c.Schedule); diff != "" {
		t.Error(diff)
	}
	if len(c.Allow) != 2 || c.Allow[0] != netip.MustParsePrefix("127.0.0.0/8") {
		t.Errorf("CIDRs: %v", c.Allow)
	}
	if c, err = parse(t, env, "--no-such-flag"); err == nil {
		t.Errorf("unknown flag: %+v", c)
	}
	if _, err = parse(t, env, "stray"); err == nil {
		t.Error("stray argument")
	}
}

func TestSecretsFromFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c, err := parse(t, map[string]string{
		"BANK_NOTIFIER_KEY_FILE": file("key", secret+"\r\n"),
		"BANK_DATABASE_URL_FILE": file("db", "postgres://u:p@h/d\n"),
		"BANK_TOKEN_FILE":        file("token", " token\n"),
	}, "--bank-api-keys-file="+file("keys", "ops:admin:"+secret+"1\nhr:writer:"+secret+"2\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Key.Reveal() != secret || c.Database.Reveal() != "postgres://u:p@h/d" || c.Token != "token" {
		t.Error("a value differs from its file")
	}
	if len(c.Keys) != 2 || c.Keys[1].Name != "hr" || c.Keys[1].Role != "writer" || c.Keys[1].Key.Reveal() != secret+"2" {
		t.Error("keys differ from their file")
	}
	for name, env := range map[string]map[string]string{
		"BANK_NOTIFIER_KEY: both":      {"BANK_NOTIFIER_KEY": secret, "BANK_NOTIFIER_KEY_FILE": file("k", secret)},
		"BANK_NOTIFIER_KEY_FILE: gone": {"BANK_NOTIFIER_KEY_FILE": filepath.Join(dir, "none")},
		"BANK_NOTIFIER_KEY_FILE: none": {"BANK_NOTIFIER_KEY_FILE": file("empty", " \n")},
		"BANK_NOTIFIER_KEY_FILE: dir":  {"BANK_NOTIFIER_KEY_FILE": dir},
		"BANK_NOTIFIER_KEY_FILE: huge": {"BANK_NOTIFIER_KEY_FILE": file("huge", strings.Repeat("x", 1<<17))},
		"BANK_NOTIFIER_KEY: short":     {"BANK_NOTIFIER_KEY_FILE": file("short", "short")},
	} {
		_, err := parse(t, env)
		setting, _, _ := strings.Cut(name, ":")
		if e, ok := errors.AsType[*settings.Error](err); !ok || len(e.Problems) != 1 || !strings.HasPrefix(e.Problems[0], setting+" ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMalformedSettingsAreNamedAndNotShown(t *testing.T) {
	const leak = "hunter2"
	tests := map[string][]string{
		"BANK_HTTP_ADDR":      {"8003", "h:", "h:65536", "h:-1", "h:http", "h:08", "a:b:1"},
		"BANK_DATABASE_URL":   {"mysql://hunter2", "sqlite:", "postgres://u:hunter2@h:port/d", "hunter2"},
		"BANK_NOTIFIER_KEY":   {leak, "hunter2 hunter2 hunter2 hunter2", "hunter2hunter2hunter2hunter2\x01", strings.Repeat("é", 24)},
		"BANK_API_KEYS":       {leak, "a:b", "a:b:hunter2", ":writer:" + secret, "a::" + secret, "a:r:" + secret + ",a:r:" + secret + "2", "a:r:" + secret + ",b:r:" + secret, ",", "a:r:" + secret + " x"},
		"BANK_ALLOW_CIDRS":    {"10.0.0.1", "10.0.0.1/8", "10.0.0.0/33", "x", ",", "10.0.0.0/8,,"},
		"BANK_RETRY_SCHEDULE": {"5", "-5s", "x", "5s,,", ","},
		"BANK_CA_FILE":        {"/does/not/exist", "/"},
		"BANK_REFLECTION":     {"maybe"},
		"BANK_EVERY":          {"5", "x"},
		"BANK_WORKERS":        {"x", "1.5"},
		"LOG_LEVEL":           {"loud"},
	}
	for setting, values := range tests {
		for _, v := range values {
			t.Run(setting+"="+v, func(t *testing.T) {
				c, err := parse(t, map[string]string{setting: v})
				e, ok := errors.AsType[*settings.Error](err)
				if !ok || len(e.Problems) != 1 || !strings.HasPrefix(e.Problems[0], setting+" (--"+strings.ReplaceAll(strings.ToLower(setting), "_", "-")+"): ") {
					t.Fatalf("%v (%+v)", err, c)
				}
				if strings.Contains(err.Error(), leak) {
					t.Errorf("shows the value: %v", err)
				}
				flag := "--" + strings.ReplaceAll(strings.ToLower(setting), "_", "-")
				_, err = parse(t, nil, flag+"="+v)
				if err == nil || !strings.Contains(err.Error(), flag) {
					t.Errorf("as a flag: %v", err)
				} else if strings.Contains(err.Error(), leak) {
					t.Errorf("as a flag, shows the value: %v", err)
				}
			})
		}
	}
}

func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	_, err := parse(t, map[string]string{"BANK_NOTIFIER_KEY": "", "BANK_HTTP_ADDR": "x", "LOG_FORMAT": "xml"})
	e, ok := errors.AsType[*settings.Error](err)
	if !ok || len(e.Problems) != 3 {
		t.Fatalf("%v", err)
	}
	var out strings.Builder
	if code := settings.ExitCode("bank-svc", fmt.Errorf("start: %w", err), &out); code != settings.ExitUsage {
		t.Errorf("status %d", code)
	}
	for _, want := range []string{"bank-svc: BANK_NOTIFIER_KEY (--bank-notifier-key): required", "bank-svc: BANK_HTTP_ADDR", "bank-svc: LOG_FORMAT", "must be one of json, text"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestHelp(t *testing.T) {
	var out, stderr strings.Builder
	var c config
	err := settings.Parse(&c, []string{"--help"}, settings.Output(&out), settings.Program("bank-svc", "Opens accounts."))
	if !errors.Is(err, settings.ErrHelp) || settings.ExitCode("bank-svc", err, &stderr) != 0 || stderr.Len() != 0 {
		t.Errorf("%v %s", err, stderr.String())
	}
	flat := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"Usage: bank-svc", "Opens accounts.",
		"Addresses --bank-http-addr=HOST:PORT Where REST is served. Default: 127.0.0.1:8003. ($BANK_HTTP_ADDR)",
		"--bank-notifier-key=SECRET The key. Required. ($BANK_NOTIFIER_KEY or $BANK_NOTIFIER_KEY_FILE)",
		"--bank-workers=N", "--bank-every=DURATION", "--bank-reflection", "--bank-name=TEXT", "Logging --log-level=LEVEL",
	} {
		if !strings.Contains(flat, want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

// However a configuration is printed, no secret comes out.
func TestConfigurationPrintsNoSecret(t *testing.T) {
	c, err := parse(t, map[string]string{
		"BANK_NOTIFIER_KEY": secret, "BANK_API_KEYS": "ops:admin:" + secret + "1", "BANK_DATABASE_URL": "postgres://u:" + secret + "@h/d?sslpassword=" + secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&out, verb+"\n", c)
		fmt.Fprintf(&out, verb+"\n", &c)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("start", "config", c, "key", c.Key, "db", c.Database, "keys", c.Keys)
	slog.New(slog.NewTextHandler(&out, nil)).Info("start", "config", c, "key", c.Key, "db", c.Database, "keys", c.Keys)
	if err := json.NewEncoder(&out).Encode(c); err != nil {
		t.Fatal(err)
	}
	for _, leak := range []string{secret, fmt.Sprintf("%x", secret)} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q is in\n%s", leak, out.String())
		}
	}
}

func TestPlainStructInProcess(t *testing.T) {
	c := config{HTTPAddr: "127.0.0.1:0", Key: settings.NewSecret(secret)}
	if c.Key.Reveal() != secret {
		t.Error("values made in a program differ")
	}
}

func TestProgramsFindProblemsToo(t *testing.T) {
	var e settings.Error
	if err := e.Err(); err != nil {
		t.Errorf("nothing is wrong, and yet: %v", err)
	}
	e.Add("BANK_NAME", "must have at most %d bytes", 128)
	for _, err := range []error{e.Err(), settings.Wrong("BANK_NAME", "must have at most %d bytes", 128)} {
		var out strings.Builder
		code := settings.ExitCode("bank-svc", fmt.Errorf("start: %w", err), &out)
		if want := "bank-svc: BANK_NAME (--bank-name): must have at most 128 bytes\n"; code != settings.ExitUsage || !strings.HasPrefix(out.String(), want) {
			t.Errorf("status %d, %q", code, out.String())
		}
	}
	var out strings.Builder
	if code := settings.ExitCode("bank-svc", errors.New("the disk is full"), &out); code != 1 || out.String() != "bank-svc: the disk is full\n" {
		t.Errorf("status %d, %q", code, out.String())
	}
}

func FuzzValues(f *testing.F) {
	for _, s := range []string{":0", "[::1]:80", "sqlite:x", "postgres://u:p@h/d", "a:b:" + secret, "10.0.0.0/8", "0,5s", "é,\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var (
			addr      settings.Addr
			db        settings.DatabaseURL
			key       settings.Secret
			keys      settings.APIKeys
			cidrs     settings.CIDRs
			durations settings.Durations
		)
		if addr.UnmarshalText([]byte(s)) == nil && string(addr) != s {
			t.Errorf("address %q from %q", addr, s)
		}
		if db.UnmarshalText([]byte(s)) == nil && db.Reveal() != s {
			t.Errorf("database %q from %q", db.Reveal(), s)
		}
		if key.UnmarshalText([]byte(s)) == nil && (key.Reveal() != s || len(s) < 24) {
			t.Errorf("secret %q from %q", key.Reveal(), s)
		}
		if keys.UnmarshalText([]byte(s)) == nil {
			for _, k := range keys {
				if k.Name == "" || k.Role == "" || len(k.Key) < 24 {
					t.Errorf("entry %q:%q from %q", k.Name, k.Role, s)
				}
			}
		}
		if cidrs.UnmarshalText([]byte(s)) == nil && len(cidrs) == 0 {
			t.Errorf("no CIDR from %q", s)
		}
		if durations.UnmarshalText([]byte(s)) == nil {
			var again settings.Durations
			if err := again.UnmarshalText([]byte(durations.String())); err != nil || !cmp.Equal(durations, again) {
				t.Errorf("durations %v, %v from %q", durations, again, s)
			}
		}
	})
}
