package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hirewire.dev/hirewire/internal/pki"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/webhook"
)

// initCommand makes all that a deployment keeps secret, once: what is there already is left as it is.
type initCommand struct {
	Dir   string `arg:"" help:"Where to put it: a folder for each service below this one."`
	Banks int    `default:"3" help:"How many banks: bank-1, bank-2, …"`
}

// lifetime of the private authority and of all that it signs.
const lifetime = 5 * 365 * 24 * time.Hour

// Validate is called by kong.
func (c *initCommand) Validate() error { return checkBanks(c.Banks) }

func (c *initCommand) Run() error {
	done := filepath.Join(c.Dir, "client", "stack.json") // written last
	switch there, err := stack.ReadDescription(done); {
	case err == nil && len(there.Banks) != c.Banks:
		return fmt.Errorf("%s is for %d banks, not for %d: use another folder", c.Dir, len(there.Banks), c.Banks)
	case err == nil:
		fmt.Println("nothing to do: " + done + " is there")
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	if err := c.write(); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	fmt.Println("made certificates, passwords and keys in " + c.Dir)
	return nil
}

// files are contents by their path below the folder. Each service's folder is mounted into that service alone.
type files map[string]string

func (c *initCommand) write() error {
	authority, err := pki.NewAuthority("Hirewire private CA", lifetime)
	if err != nil {
		return err
	}
	masterKey := make([]byte, 32)
	_, _ = rand.Read(masterKey) // it never fails
	out := files{}
	description := &stack.Description{CAFile: "ca.pem", GRPCTLS: true}
	roles := []string{"employee", "notifier"}

	writer, reader, publisher, admin := stack.NewKey(), stack.NewKey(), stack.NewKey(), stack.NewKey()
	description.Employee = stack.EmployeeAccess{HTTP: "http://employee-svc:8001", GRPC: "employee-svc:9001", WriterKey: writer, ReaderKey: reader}
	description.Notifier = stack.NotifierAccess{HTTP: "http://notifier:8002", GRPC: "notifier:9002", AdminKey: admin, PublisherKey: publisher}
	employeeKeys := []string{"hr:writer:" + writer, "audit:reader:" + reader}
	notifierKeys := []string{"employee-svc:publisher:" + publisher}

	for i := range c.Banks {
		name := fmt.Sprintf("bank-%d", i+1)
		roles = append(roles, strings.ReplaceAll(name, "-", "_"))
		secret := webhook.NewSecret()
		operator, bankNotifier, bankEmployee := stack.NewKey(), stack.NewKey(), stack.NewKey()
		employeeKeys = append(employeeKeys, name+":reader:"+bankEmployee)
		notifierKeys = append(notifierKeys, name+":bank:"+bankNotifier)
		out[name+"/webhook_secret"] = secret.Reveal()
		out[name+"/notifier_key"] = bankNotifier
		out[name+"/employee_key"] = bankEmployee
		out[name+"/api_keys"] = "operator:operator:" + operator
		description.Banks = append(description.Banks, stack.BankAccess{
			Name: name, URL: "https://" + name + ":8003", GRPC: name + ":9003", Key: operator, WebhookSecret: secret.Reveal(),
		})
		if err := out.issue(authority, name); err != nil {
			return err
		}
	}
	if err := errors.Join(out.issue(authority, "employee-svc"), out.issue(authority, "notifier"), out.issue(authority, "postgres")); err != nil {
		return err
	}
	out["employee-svc/api_keys"] = strings.Join(employeeKeys, ",")
	out["employee-svc/notifier_key"] = publisher
	out["notifier/admin_key"] = admin
	out["notifier/api_keys"] = strings.Join(notifierKeys, ",")
	out["notifier/master_key"] = base64.StdEncoding.EncodeToString(masterKey)
	out["client/ca.pem"] = string(authority.PEM)
	out.addDatabases(roles)

	if err := out.writeTo(c.Dir); err != nil {
		return err
	}
	return description.WriteFile(filepath.Join(c.Dir, "client", "stack.json"))
}

// issue gives a service its certificate, and the authority's to trust.
func (f files) issue(authority *pki.Authority, service string) error {
	pair, err := authority.Issue(service, "localhost", "127.0.0.1")
	if err != nil {
		return err
	}
	f[service+"/ca.pem"] = string(authority.PEM)
	f[service+"/tls.crt"], f[service+"/tls.key"] = string(pair.Cert), string(pair.Key)
	return nil
}

// addDatabases gives each service a database and a role that can reach no other. The CA is where docker-compose.yml mounts
// the service's folder.
func (f files) addDatabases(roles []string) {
	var sql strings.Builder
	sql.WriteString("-- One database and one role for each service; nobody else gets in.\n")
	for _, role := range roles {
		password := stack.NewKey()
		fmt.Fprintf(&sql, "CREATE ROLE %[1]s LOGIN PASSWORD '%[2]s';\nCREATE DATABASE %[1]s OWNER %[1]s;\nREVOKE ALL ON DATABASE %[1]s FROM PUBLIC;\n", role, password)
		service := strings.ReplaceAll(role, "_", "-")
		mount := service
		switch {
		case role == "employee":
			service, mount = "employee-svc", "employee-svc"
		case strings.HasPrefix(role, "bank"):
			mount = "bank"
		}
		f[service+"/database_url"] = fmt.Sprintf("postgres://%s:%s@postgres:5432/%s?sslmode=verify-full&sslrootcert=/secrets/%s/ca.pem", role, password, role, mount)
	}
	f["postgres/password"] = stack.NewKey()
	f["postgres/init.sql"] = sql.String()
}

// writeTo writes the files for the owner alone: in the image, all programs run as the user that init runs as. PostgreSQL has a
// user of its own and reads its files as anybody may, but for its key, of which it makes a copy as root; the folder above all
// keeps others out where init makes it.
func (f files) writeTo(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, content := range f {
		folderMode, fileMode := os.FileMode(0o700), os.FileMode(0o600)
		if strings.HasPrefix(name, "postgres/") {
			folderMode = 0o755
			if name != "postgres/tls.key" {
				fileMode = 0o644
			}
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), folderMode); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), fileMode); err != nil {
			return err
		}
	}
	return nil
}
