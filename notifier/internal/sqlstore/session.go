package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"

	"hirewire.dev/platform/sqldb"
)

// session is a connection of its own for statements that run all the time (PostgreSQL). They are prepared once, and
// planned so that no table is ever read as a whole: the planner would choose to while a table looks empty, and stay with
// it while the table fills. A call that fails gives the connection up; the next one makes another.
type session struct {
	mu    sync.Mutex
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

var sessionSettings = []string{
	"SET plan_cache_mode = force_generic_plan",
	"SET enable_seqscan = off",
	"SET enable_hashjoin = off",
	"SET enable_mergejoin = off",
	"SET enable_bitmapscan = off",
	"SET jit = off",
}

// use calls fn with the session, alone.
func (s *session) use(ctx context.Context, db *sql.DB, fn func(prepare func(query string) (*sql.Stmt, error)) error) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil { // database/sql looks at it only where it takes a connection from the pool
		return err
	}
	if s.conn == nil {
		if s.conn, err = connect(ctx, db); err != nil {
			return err
		}
		s.stmts = map[string]*sql.Stmt{}
	}
	defer func() {
		if err != nil && !harmless(err) {
			s.drop()
		}
	}()
	return fn(func(query string) (*sql.Stmt, error) {
		if st := s.stmts[query]; st != nil {
			return st, nil
		}
		st, err := s.conn.PrepareContext(ctx, query)
		if err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
		s.stmts[query] = st
		return st, nil
	})
}

func connect(ctx context.Context, db *sql.DB) (*sql.Conn, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	for _, set := range sessionSettings {
		if _, err := conn.ExecContext(ctx, set); err != nil {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
			_ = conn.Close()
			return nil, fmt.Errorf("connect: %w", err)
		}
	}
	return conn, nil
}

// harmless reports errors of a statement that leave the connection as good as it was.
func harmless(err error) bool {
	_, unique := sqldb.IsUnique(err)
	return unique || sqldb.IsRetryable(err)
}

// drop closes the connection for good: its settings must not reach the pool.
func (s *session) drop() {
	if s.conn == nil {
		return
	}
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = s.conn.Close()
	s.conn, s.stmts = nil, nil
}

func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
}
