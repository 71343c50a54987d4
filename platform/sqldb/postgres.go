package sqldb

import (
	"database/sql"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

const postgresConns = 16

func openPostgres(raw string, o options) (*DB, error) {
	dsn, err := postgresDSN(raw, o)
	if err != nil {
		return nil, err
	}
	n := o.maxConns
	if n <= 0 {
		n = postgresConns
	}
	pool, err := postgresPool(dsn, n)
	if err != nil {
		return nil, err
	}
	db := &DB{DB: pool, Engine: PostgreSQL, reader: pool}
	o.statementTimeout, o.lockTimeout = 0, 0
	db.openMigration = func() (*sqlx.DB, error) {
		dsn, err := postgresDSN(raw, o)
		if err != nil {
			return nil, err
		}
		return postgresPool(dsn, 1)
	}
	return db, nil
}

func postgresPool(dsn string, n int) (*sqlx.DB, error) {
	c, err := pq.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	db.SetConnMaxLifetime(30 * time.Minute)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return sqlx.NewDb(db, "postgres"), nil
}

// postgresDSN adds what the caller's URL leaves open.
func postgresDSN(raw string, o options) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("postgres: the URL is malformed") // err would repeat the password
	}
	q := u.Query()
	def := func(key, value string) {
		if !q.Has(key) {
			q.Set(key, value)
		}
	}
	def("connect_timeout", "5")
	def("application_name", o.applicationName)
	def("statement_timeout", strconv.FormatInt(o.statementTimeout.Milliseconds(), 10))
	def("lock_timeout", strconv.FormatInt(o.lockTimeout.Milliseconds(), 10))
	def("idle_in_transaction_session_timeout", "10000")
	q.Set("TimeZone", "UTC")
	if !isLoopback(u.Hostname()) {
		def("sslmode", "verify-full")
	} else {
		def("sslmode", "disable")
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func isLoopback(host string) bool {
	if host == "" || host == "localhost" || host[0] == '/' {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
