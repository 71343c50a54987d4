// Package sqlstore keeps employees and their outbox in a database: PostgreSQL, or SQLite.
//
// Every change is one transaction that writes the employee and its event, after it took the next positions of the feed.
// Concurrent creates share transactions.
package sqlstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/employee-svc/internal/outbox"
	"hirewire.dev/platform/groupcommit"
	"hirewire.dev/platform/sqldb"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is what a Store is made of. All fields are required.
type Config struct {
	// DB is open; Migrate has run.
	DB *sqldb.DB
	// Handoff takes the events of what this Store commits to the relay of this process.
	Handoff *outbox.Handoff
	// Encode makes the body of an event, as it is published.
	Encode func(employee.Event) ([]byte, error)
}

// Store keeps employees. Its methods are safe for concurrent use.
type Store struct {
	db      *sqldb.DB
	handoff *outbox.Handoff
	encode  func(employee.Event) ([]byte, error)
	stmts   statements
	writer  writer

	// Single creates, and those of several employees, which would fill a transaction of the others too much.
	singles, batches *groupcommit.Committer[job, []outcome]
}

const (
	// commitTimeout bounds a transaction of creates, with its repetitions.
	commitTimeout = 5 * time.Second
	maxSingles    = 512
	maxBatches    = 4
)

// Migrate brings the tables up to date.
func Migrate(ctx context.Context, db *sqldb.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return db.Migrate(ctx, "employees", files)
}

// New makes a Store. Creates need Run.
func New(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{db: cfg.DB, handoff: cfg.Handoff, encode: cfg.Encode}
	if err := s.stmts.prepare(ctx, cfg.DB); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare statements: %w", err), s.stmts.close())
	}
	s.writer = arrayWriter{&s.stmts}
	if cfg.DB.Engine == sqldb.SQLite {
		w, err := newRowWriter(ctx, cfg.DB)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("prepare statements: %w", err), s.stmts.close())
		}
		s.writer = w
	}
	config := groupcommit.Config[job, []outcome]{Commit: s.commit, MaxBatch: maxSingles, Timeout: commitTimeout + time.Second}
	s.singles = groupcommit.New(config)
	config.MaxBatch, config.MaxQueue = maxBatches, 256
	s.batches = groupcommit.New(config)
	return s, nil
}

// Run commits creates until ctx ends, and then those that wait.
func (s *Store) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	var errs [2]error
	wg.Go(func() { errs[0] = s.singles.Run(ctx) })
	wg.Go(func() { errs[1] = s.batches.Run(ctx) })
	wg.Wait()
	return errors.Join(errs[:]...)
}

// Close frees the statements; the database stays open.
func (s *Store) Close() error { return errors.Join(s.stmts.close(), s.writer.close()) }

// Ready reports whether the database answers.
func (s *Store) Ready(ctx context.Context) error { return s.db.Ready(ctx) }

// late gives an error that came from a deadline of the Store's own its name.
func late(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", employee.ErrUnavailable, err)
	}
	return err
}
