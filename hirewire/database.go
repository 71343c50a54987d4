package main

import (
	"errors"
	"strings"

	"hirewire.dev/platform/settings"
)

// postgresURL is the URL of a PostgreSQL server; empty: SQLite files.
type postgresURL string

// UnmarshalText checks and sets the URL. Its error does not repeat it, since it holds a password.
func (u *postgresURL) UnmarshalText(text []byte) error {
	var database settings.DatabaseURL
	if len(text) > 0 && (database.UnmarshalText(text) != nil || strings.HasPrefix(database.Reveal(), "sqlite:")) {
		return errors.New("must be postgres://USER:PASSWORD@HOST/DATABASE")
	}
	*u = postgresURL(text)
	return nil
}
