package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	banksvc "hirewire.dev/bank-svc"
	employeesvc "hirewire.dev/employee-svc"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/notifier"
	"hirewire.dev/platform/settings"
)

// initialised runs init and returns the contents and the modes of all that it made, by path.
func initialised(t *testing.T, dir string, banks int) (contents map[string]string, modes map[string]fs.FileMode) {
	t.Helper()
	if err := (&initCommand{Dir: dir, Banks: banks}).Run(); err != nil {
		t.Fatal(err)
	}
	contents, modes = map[string]string{}, map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		modes[name] = info.Mode().Perm()
		if entry.IsDir() {
			return nil
		}
		data, err := os.ReadFile(path)
		contents[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return contents, modes
}

func TestInitKeepsOthersOut(t *testing.T) {
	_, modes := initialised(t, filepath.Join(t.TempDir(), "secrets"), 1)
	for name, mode := range modes {
		want := fs.FileMode(0o600)
		switch {
		case name == "postgres": // runs as a user of its own
			want = 0o755
		case strings.HasPrefix(name, "postgres/") && name != "postgres/tls.key":
			want = 0o644
		case name == "." || !strings.Contains(name, "/"):
			want = 0o700
		}
		if mode != want {
			t.Errorf("%s has mode %o, want %o", name, mode, want)
		}
	}
}

func TestInitAgainChangesNothing(t *testing.T) {
	dir := t.TempDir()
	first, _ := initialised(t, dir, 2)
	if second, _ := initialised(t, dir, 2); !maps.Equal(first, second) {
		t.Error("something has changed")
	}
	for name, test := range map[string]struct {
		description string
		banks       int
		want        string
	}{
		"more banks":  {first["client/stack.json"], 5, "is for 2 banks, not for 5"},
		"fewer banks": {first["client/stack.json"], 1, "is for 2 banks, not for 1"},
		"broken":      {"{", 2, "read the description of the stack"},
	} {
		if err := os.WriteFile(filepath.Join(dir, "client", "stack.json"), []byte(test.description), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (&initCommand{Dir: dir, Banks: test.banks}).Run(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "client", "stack.json"), []byte(first["client/stack.json"]), 0o600); err != nil {
		t.Fatal(err)
	}
	if after, _ := initialised(t, dir, 2); !maps.Equal(first, after) {
		t.Error("a refused init has changed something")
	}
}

func TestServicesTakeWhatInitMakes(t *testing.T) {
	dir := t.TempDir()
	initialised(t, dir, 2)
	for service, test := range map[string]struct {
		config any
		env    string
	}{
		"employee-svc": {
			&employeesvc.Config{}, "EMPLOYEE_GRPC_TLS_CERT=tls.crt EMPLOYEE_GRPC_TLS_KEY=tls.key EMPLOYEE_DATABASE_URL_FILE=database_url " +
				"EMPLOYEE_NOTIFIER_CA_FILE=ca.pem EMPLOYEE_NOTIFIER_KEY_FILE=notifier_key EMPLOYEE_API_KEYS_FILE=api_keys",
		},
		"notifier": {
			&notifier.Config{}, "NOTIFIER_GRPC_TLS_CERT=tls.crt NOTIFIER_GRPC_TLS_KEY=tls.key NOTIFIER_DATABASE_URL_FILE=database_url " +
				"NOTIFIER_ADMIN_KEY_FILE=admin_key NOTIFIER_API_KEYS_FILE=api_keys NOTIFIER_MASTER_KEY_FILE=master_key NOTIFIER_CA_FILE=ca.pem",
		},
		"bank-2": {
			&banksvc.Config{}, "BANK_GRPC_TLS_CERT=tls.crt BANK_GRPC_TLS_KEY=tls.key BANK_DATABASE_URL_FILE=database_url BANK_TLS_CERT=tls.crt " +
				"BANK_TLS_KEY=tls.key BANK_CA_FILE=ca.pem BANK_NOTIFIER_KEY_FILE=notifier_key BANK_EMPLOYEE_KEY_FILE=employee_key " +
				"BANK_API_KEYS_FILE=api_keys BANK_WEBHOOK_SECRET_FILE=webhook_secret",
		},
	} {
		t.Run(service, func(t *testing.T) {
			env := map[string]string{"BANK_NAME": service}
			for pair := range strings.FieldsSeq(test.env) {
				name, file, _ := strings.Cut(pair, "=")
				env[name] = filepath.Join(dir, service, file)
			}
			lookup := func(name string) (string, bool) { value, found := env[name]; return value, found }
			if err := settings.Parse(test.config, nil, settings.Lookup(lookup), settings.Output(io.Discard)); err != nil {
				t.Error(err)
			}
		})
	}
	description, err := stack.ReadDescription(filepath.Join(dir, "client", "stack.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(description.Banks) != 2 || !description.GRPCTLS || description.CAFile != filepath.Join(dir, "client", "ca.pem") {
		t.Errorf("description %+v", description)
	}
}

func TestCertificatesOfInitAreGoodForTheirServiceAlone(t *testing.T) {
	dir := t.TempDir()
	made, _ := initialised(t, dir, 2)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(made["client/ca.pem"]))
	for _, service := range []string{"employee-svc", "notifier", "bank-1", "bank-2", "postgres"} {
		if made[service+"/ca.pem"] != made["client/ca.pem"] {
			t.Errorf("%s trusts another authority", service)
		}
		pair, err := tls.X509KeyPair([]byte(made[service+"/tls.crt"]), []byte(made[service+"/tls.key"]))
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]bool{service: true, "localhost": true, "127.0.0.1": true, "bank-3": false} {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); (err == nil) != want {
				t.Errorf("%s as %s: %v, want success %v", service, name, err, want)
			}
		}
	}
	for service, folder := range map[string]string{"employee-svc": "employee-svc", "notifier": "notifier", "bank-2": "bank"} {
		if want := "?sslmode=verify-full&sslrootcert=/secrets/" + folder + "/ca.pem"; !strings.HasSuffix(made[service+"/database_url"], want) {
			t.Errorf("%s does not make sure that it talks to its database", service)
		}
	}
}

// What two services need to know of each other is in both folders; everything else is in one.
func TestServicesShareNoSecretOfInit(t *testing.T) {
	made, _ := initialised(t, t.TempDir(), 2)
	for name, others := range map[string][]string{
		"employee-svc/tls.key": nil, "employee-svc/database_url": nil, "employee-svc/notifier_key": {"notifier"},
		"notifier/tls.key": nil, "notifier/database_url": nil, "notifier/admin_key": nil, "notifier/master_key": nil,
		"bank-1/tls.key": nil, "bank-1/database_url": nil, "bank-1/webhook_secret": nil, "bank-1/api_keys": nil,
		"bank-1/notifier_key": {"notifier"}, "bank-1/employee_key": {"employee-svc"}, "bank-2/webhook_secret": nil,
		"postgres/password": nil, "postgres/tls.key": nil,
	} {
		secret := strings.TrimPrefix(made[name], "operator:operator:")
		if strings.HasSuffix(name, "database_url") {
			secret = strings.Split(strings.Split(secret, "@")[0], ":")[2]
			others = []string{"postgres"}
		}
		if len(secret) < 24 {
			t.Fatalf("%s is %d characters long", name, len(secret))
		}
		allowed := append([]string{filepath.Dir(name), "client"}, others...)
		for other, content := range made {
			known := false
			for _, folder := range allowed {
				known = known || filepath.Dir(other) == folder
			}
			if !known && strings.Contains(content, secret) {
				t.Errorf("%s has what is in %s", other, name)
			}
		}
	}
}
