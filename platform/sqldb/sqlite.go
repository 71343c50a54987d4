package sqldb

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
)

const (
	sqliteReaders = 4
	// SQLite's own wait for the write lock does not look at the context, so it
	// is kept short; InTx and Migrate, which do, wait on.
	maxBusyTimeout = time.Second
)

func openSQLite(path string, o options) (*DB, error) {
	if path == "" {
		return nil, errors.New("sqlite: the path is empty")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	if err := createPrivate(path); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	writer, err := sqlitePool(path, o.lockTimeout, writing)
	if err != nil {
		return nil, err
	}
	reader, err := sqlitePool(path, o.lockTimeout, reading)
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	if o.maxConns <= 0 {
		o.maxConns = sqliteReaders
	}
	reader.SetMaxOpenConns(o.maxConns)
	reader.SetMaxIdleConns(o.maxConns)
	return &DB{
		DB: writer, Engine: SQLite, reader: reader,
		openMigration: func() (*sqlx.DB, error) { return sqlitePool(path, maxBusyTimeout, writing) },
	}, nil
}

var creating sync.Mutex

// createPrivate creates the file, if it is not there, for its owner only; the
// log and the shared memory beside it take its permissions. A file that exists
// is not touched: closing any descriptor of it would drop the locks that
// SQLite holds on it elsewhere in this process (POSIX fcntl locks).
func createPrivate(path string) error {
	creating.Lock()
	defer creating.Unlock()
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return file.Close()
}

type access bool

const (
	reading access = false
	writing access = true
)

// sqlitePool opens a pool of one connection that is never closed while idle.
func sqlitePool(path string, busy time.Duration, mode access) (*sqlx.DB, error) {
	q := url.Values{}
	q.Set("_busy_timeout", strconv.FormatInt(min(busy, maxBusyTimeout).Milliseconds(), 10))
	q.Set("_journal_mode", "WAL")
	q.Set("_synchronous", "FULL") // a commit is on the disk before it is acknowledged
	q.Set("_foreign_keys", "1")
	// Times are integers: text compares wrongly across zones.
	q.Set("_time_integer_format", "unix_micro")
	q.Set("_inttotime", "1")
	q.Set("_error_rc", "1") // an error's text is that of its own code
	q.Set("_defensive", "1")
	for _, pragma := range []string{
		"temp_store(memory)",
		"mmap_size(0)",                 // a mapped file turns a disk error into a crash
		"wal_autocheckpoint(4000)",     // 16 MiB: four times fewer checkpoints in the way of small commits
		"journal_size_limit(67108864)", // a burst does not keep its disk space for ever
	} {
		q.Add("_pragma", pragma)
	}
	if mode == writing {
		// A deferred transaction that turns to writing fails where an
		// immediate one waits its turn.
		q.Set("_txlock", "immediate")
		q.Add("_pragma", "cache_size(-8192)") // KiB
	} else {
		q.Set("_query_only", "1")
		q.Add("_pragma", "cache_size(-2048)")
	}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	// sqlx picks placeholders by driver name; modernc binds PostgreSQL's $n.
	return sqlx.NewDb(db, "postgres"), nil
}
