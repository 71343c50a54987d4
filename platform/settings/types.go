package settings

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"hirewire.dev/platform/telemetry"
)

// Addr is a TCP address to listen on or to dial, "host:port". An empty host
// listens on all interfaces; port 0 takes a free one.
type Addr string

// UnmarshalText checks and sets the address.
func (a *Addr) UnmarshalText(text []byte) error {
	_, port, err := net.SplitHostPort(string(text))
	if err != nil {
		return errors.New("must be host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return errors.New("the port must be a number from 0 to 65535")
	}
	*a = Addr(text)
	return nil
}

// String is the address.
func (a Addr) String() string { return string(a) }

// DatabaseURL is "sqlite:PATH" or "postgres://…". It holds a password, so it
// prints with the password masked and may come from a file.
type DatabaseURL string

// UnmarshalText checks and sets the URL.
func (d *DatabaseURL) UnmarshalText(text []byte) error {
	s := string(text)
	switch {
	case strings.HasPrefix(s, "sqlite:"):
		if s == "sqlite:" {
			return errors.New("sqlite: needs a path, as in sqlite:./data/service.db")
		}
	case strings.HasPrefix(s, "postgres://"), strings.HasPrefix(s, "postgresql://"):
		if _, err := url.Parse(s); err != nil {
			return errors.New("malformed postgres URL")
		}
	default:
		return errors.New("must be sqlite:PATH or postgres://…")
	}
	*d = DatabaseURL(s)
	return nil
}

// IsSecret gives the setting a …_FILE twin.
func (DatabaseURL) IsSecret() {}

// Reveal is the URL itself.
func (d DatabaseURL) Reveal() string { return string(d) }

// String is the URL with its password masked.
func (d DatabaseURL) String() string {
	if strings.HasPrefix(string(d), "sqlite:") {
		return string(d)
	}
	u, err := url.Parse(string(d))
	if err != nil {
		return "***"
	}
	u.RawQuery = ""
	return u.Redacted()
}

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

// Key32 is a key of 32 bytes, written in base64.
type Key32 struct{ key []byte }

// NewKey32 wraps a key that a program made itself.
func NewKey32(key [32]byte) Key32 { return Key32{key: key[:]} }

// UnmarshalText checks and sets the key.
func (k *Key32) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil || len(b) != 32 {
		return errors.New("must be the base64 of 32 bytes")
	}
	k.key = b
	return nil
}

// IsSecret gives the setting a …_FILE twin.
func (Key32) IsSecret() {}

// Reveal is a copy of the key; nil if it is not set.
func (k Key32) Reveal() []byte { return slices.Clone(k.key) }

// Format prints *** for every verb.
func (k Key32) Format(f fmt.State, verb rune) { telemetry.Secret("").Format(f, verb) }

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

// IsSecret gives the setting a …_FILE twin.
func (APIKeys) IsSecret() {}

// CIDRs is a comma-separated list of network prefixes.
type CIDRs []netip.Prefix

// UnmarshalText checks and sets the list.
func (l *CIDRs) UnmarshalText(text []byte) error {
	var out CIDRs
	for item := range strings.SplitSeq(string(text), ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(item))
		if err != nil {
			return fmt.Errorf("%q is not a CIDR such as 10.0.0.0/8", item)
		}
		if p != p.Masked() {
			return fmt.Errorf("%q has bits set after the prefix; did you mean %s?", item, p.Masked())
		}
		out = append(out, p)
	}
	*l = out
	return nil
}

// Durations is a comma-separated list of Go durations, none negative.
type Durations []time.Duration

// UnmarshalText checks and sets the list.
func (l *Durations) UnmarshalText(text []byte) error {
	var out Durations
	for item := range strings.SplitSeq(string(text), ",") {
		d, err := time.ParseDuration(strings.TrimSpace(item))
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 5s", item)
		}
		if d < 0 {
			return fmt.Errorf("%q is negative", item)
		}
		out = append(out, d)
	}
	*l = out
	return nil
}

// String is the list as it is written.
func (l Durations) String() string {
	parts := make([]string, len(l))
	for i, d := range l {
		parts[i] = d.String()
	}
	return strings.Join(parts, ",")
}

// File is the path of a file that must exist and be readable.
type File string

// UnmarshalText checks and sets the path.
func (f *File) UnmarshalText(text []byte) error {
	file, err := os.Open(string(text))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err != nil || info.IsDir() {
		return errors.New("is not a file")
	}
	*f = File(text)
	return nil
}

// String is the path.
func (f File) String() string { return string(f) }
