package settings

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
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

func (Addr) placeholder() string { return "HOST:PORT" }

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

func (DatabaseURL) placeholder() string { return "URL" }

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

func (File) placeholder() string { return "FILE" }

// String is the path.
func (f File) String() string { return string(f) }

// Format prints String for every verb.
func (d DatabaseURL) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(d.String())) }

// MarshalText writes String.
func (d DatabaseURL) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
