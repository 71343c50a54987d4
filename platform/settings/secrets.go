package settings

import (
	"errors"
	"fmt"
	"strings"

	"hirewire.dev/platform/telemetry"
)

// Secret is any secret of 24 characters or more.
type Secret struct{ telemetry.Secret }

const minSecret = 24

// NewSecret wraps a secret that a program made itself.
func NewSecret(s string) Secret { return Secret{telemetry.Secret(s)} }

// UnmarshalText checks and sets the secret.
func (s *Secret) UnmarshalText(text []byte) error {
	if err := checkSecret(string(text)); err != nil {
		return err
	}
	s.Secret = telemetry.Secret(text)
	return nil
}

func (Secret) placeholder() string { return "SECRET" }

// IsSecret gives the setting a …_FILE twin.
func (Secret) IsSecret() {}

func checkSecret(s string) error {
	if len(s) < minSecret {
		return fmt.Errorf("must have at least %d characters", minSecret)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return errors.New("must be printable ASCII without spaces")
		}
	}
	return nil
}

// APIKey is one entry of APIKeys.
type APIKey struct {
	Name, Role string
	Key        telemetry.Secret
}

// APIKeys is a list "name:role:key,…" with unique names and keys of 24
// characters or more. Which roles there are is the service's to check.
type APIKeys []APIKey

// UnmarshalText checks and sets the list.
func (l *APIKeys) UnmarshalText(text []byte) error {
	var keys APIKeys
	for i, entry := range strings.FieldsFunc(string(text), func(r rune) bool { return r == ',' || r == '\n' }) {
		parts := strings.SplitN(strings.TrimSpace(entry), ":", 3)
		if len(parts) != 3 || parts[0] == "" || parts[1] == "" {
			return fmt.Errorf("entry %d must be name:role:key", i+1)
		}
		k := APIKey{Name: parts[0], Role: parts[1], Key: telemetry.Secret(parts[2])}
		if err := checkSecret(parts[2]); err != nil {
			return fmt.Errorf("the key of entry %d %w", i+1, err)
		}
		for _, other := range keys {
			if other.Name == k.Name {
				return fmt.Errorf("entry %d has the name of an earlier one", i+1)
			}
			if other.Key == k.Key {
				return fmt.Errorf("entry %d has the key of an earlier one", i+1)
			}
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return errors.New("must be name:role:key,…")
	}
	*l = keys
	return nil
}

func (APIKeys) placeholder() string { return "NAME:ROLE:KEY,…" }

// IsSecret gives the setting a …_FILE twin.
func (APIKeys) IsSecret() {}
