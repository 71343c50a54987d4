// Package stack runs the three services and any number of banks in one process, and describes a running stack, wherever it
// runs, so that a client can drive it.
package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Description is how to reach a running stack: what --ready-file writes and what other commands take.
type Description struct {
	Employee EmployeeAccess `json:"employee"`
	Notifier NotifierAccess `json:"notifier"`
	Banks    []BankAccess   `json:"banks"`
	// CAFile holds the certificate of the authority that signed the banks' certificates.
	CAFile  string `json:"ca_file"`
	DataDir string `json:"data_dir"`
	// GRPCTLS says that the gRPC addresses speak TLS, signed by the same authority.
	GRPCTLS bool `json:"grpc_tls,omitempty"`
}

// EmployeeAccess is how to reach the employee service.
type EmployeeAccess struct {
	HTTP      string `json:"http"`
	GRPC      string `json:"grpc"`
	WriterKey string `json:"writer_key"`
	ReaderKey string `json:"reader_key"`
}

// NotifierAccess is how to reach the notifier.
type NotifierAccess struct {
	HTTP         string `json:"http"`
	GRPC         string `json:"grpc"`
	AdminKey     string `json:"admin_key"`
	PublisherKey string `json:"publisher_key"`
}

// BankAccess is how to reach one bank.
type BankAccess struct {
	Name           string `json:"name"`
	URL            string `json:"url"`
	GRPC           string `json:"grpc"`
	Key            string `json:"key"`
	WebhookSecret  string `json:"webhook_secret"`
	SubscriptionID string `json:"subscription_id"`
}

// ReadDescription reads what WriteFile wrote. Relative files in it are looked for beside it.
func ReadDescription(path string) (*Description, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the description of the stack: %w", err)
	}
	d := &Description{}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("read the description of the stack in %s: %w", path, err)
	}
	if d.Employee.GRPC == "" || len(d.Banks) == 0 {
		return nil, fmt.Errorf("read the description of the stack in %s: %w", path, errors.New("it names no employee service or no bank"))
	}
	if d.CAFile != "" && !filepath.IsAbs(d.CAFile) {
		d.CAFile = filepath.Join(filepath.Dir(path), d.CAFile)
	}
	return d, nil
}

// WriteFile writes the description, readable by its owner only, since it holds keys. The file appears whole or not at all.
func (d *Description) WriteFile(path string) error {
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".stack-*")
	if err != nil {
		return fmt.Errorf("write the description of the stack: %w", err)
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(append(data, '\n'))
	if err := errors.Join(err, temporary.Close()); err != nil {
		return fmt.Errorf("write the description of the stack: %w", err)
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return fmt.Errorf("write the description of the stack: %w", err)
	}
	return nil
}
