package sqldb

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
)

const sqliteReaders = 4

func openSQLite(path string, o options) (*DB, error) {
	if path == "" {
		return nil, fmt.Errorf("sqlite: the path is empty")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	writer, err := sqlitePool(path, o, false)
	if err != nil {
		return nil, err
	}
	writer.SetMaxOpenConns(1)
	reader, err := sqlitePool(path, o, true)
	if err != nil {
		return nil, err
	}
	n := o.maxConns
	if n <= 0 {
		n = sqliteReaders
	}
	reader.SetMaxOpenConns(n)
	reader.SetMaxIdleConns(n)
	db := &DB{DB: writer, Engine: SQLite, reader: reader}
	db.openMigration = func() (*sqlx.DB, error) {
		pool, err := sqlitePool(path, o, false)
		if err == nil {
			pool.SetMaxOpenConns(1)
		}
		return pool, err
	}
	return db, nil
}

func sqlitePool(path string, o options, readOnly bool) (*sqlx.DB, error) {
	q := url.Values{}
	q.Set("_busy_timeout", strconv.FormatInt(o.lockTimeout.Milliseconds(), 10))
	q.Set("_journal_mode", "WAL")
	q.Set("_synchronous", "FULL")
	q.Set("_foreign_keys", "1")
	q.Set("_time_integer_format", "unix_micro")
	q.Set("_inttotime", "1")
	q.Set("_error_rc", "1")
	q.Add("_pragma", "temp_store(memory)")
	q.Add("_pragma", "cache_size(-16384)")
	q.Add("_pragma", "mmap_size(268435456)")
	q.Add("_pragma", "wal_autocheckpoint(4000)")
	q.Add("_pragma", "journal_size_limit(67108864)")
	if readOnly {
		q.Set("_query_only", "1")
	} else {
		q.Set("_txlock", "immediate")
	}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}
	c, err := sqlite.NewConnector(u.String())
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	db := sql.OpenDB(c)
	db.SetConnMaxIdleTime(0)
	db.SetConnMaxLifetime(0 * time.Second)
	// sqlx knows placeholders by driver name; modernc binds PostgreSQL's $n.
	return sqlx.NewDb(db, "postgres"), nil
}
