package sqldb

import (
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

const postgresConns = 16

// postgresSource is a parsed URL with what the caller left open filled in.
type postgresSource struct {
	dsn     string
	silence time.Duration
}

func openPostgres(raw string, o options) (*DB, error) {
	src, err := newPostgresSource(raw, o)
	if err != nil {
		return nil, err
	}
	n := o.maxConns
	if n <= 0 {
		n = postgresConns
	}
	pool, err := src.pool(n)
	if err != nil {
		return nil, err
	}
	// Migrations may take as long as they need.
	o.statementTimeout, o.lockTimeout = 0, 0
	slow, err := newPostgresSource(raw, o)
	if err != nil {
		return nil, err
	}
	return &DB{
		DB: pool, Engine: PostgreSQL, reader: pool,
		source:        src,
		openMigration: func() (*sqlx.DB, error) { return slow.pool(1) },
	}, nil
}

func (s *postgresSource) pool(n int) (*sqlx.DB, error) {
	c, err := newConnector(s.dsn, s.silence)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	// A fail-over or a resized cluster is noticed by connections being made anew.
	db.SetConnMaxLifetime(30 * time.Minute)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return sqlx.NewDb(db, "postgres"), nil
}

func newPostgresSource(raw string, o options) (*postgresSource, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("postgres: the URL is malformed") // err would repeat the password
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
	// One round trip for a statement with arguments instead of two.
	def("binary_parameters", "yes")
	q.Del("timezone")
	q.Set("TimeZone", "UTC")
	host := u.Hostname()
	if h := q.Get("host"); h != "" {
		host = h
	}
	if isLocal(host) {
		def("sslmode", "disable")
	} else {
		def("sslmode", "verify-full")
	}
	if strings.Contains(host, ",") {
		def("target_session_attrs", "read-write")
	}
	u.RawQuery = q.Encode()
	src := &postgresSource{dsn: u.String()}
	if t := serverDuration(q.Get("statement_timeout")); t > 0 {
		src.silence = t + silenceSlack
	}
	return src, nil
}

// isLocal reports whether what is sent to host stays on this machine.
func isLocal(host string) bool {
	if host == "" || host == "localhost" || strings.HasPrefix(host, "/") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// serverDuration reads a duration as PostgreSQL's settings write it: a number
// of milliseconds, or with a unit. 0 is none, or not understood.
func serverDuration(s string) time.Duration {
	s = strings.ReplaceAll(strings.TrimSpace(s), " ", "")
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Duration(ms) * time.Millisecond
	}
	if m, ok := strings.CutSuffix(s, "min"); ok {
		s = m + "m"
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0
	}
	return d
}
