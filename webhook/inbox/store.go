package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Status is how far a message is.
type Status string

// The life of a message.
const (
	StatusPending     Status = "PENDING"
	StatusProcessed   Status = "PROCESSED"
	StatusFailed      Status = "FAILED"
	StatusIgnored     Status = "IGNORED"
	StatusQuarantined Status = "QUARANTINED"
)

// row is a message on its way into the table.
type row struct {
	id            string
	kind          string // the event's type
	subject       Subject
	signature     string
	senderAttempt int
	traceparent   string
	status        Status
	lastError     string
	body          []byte
	sentAt        time.Time
	receivedAt    time.Time

	event *Event // nil when quarantined on arrival
	// problem is why the application made nothing of the event.
	problem error
}

// inserted is what became of a row: the ids that came before have none.
type inserted struct {
	seq   int64
	lease int64 // 0 when the row was not given to us
}

// item is an open message that this process holds under a lease.
type item struct {
	seq      int64
	lease    int64
	until    time.Time // the end of the lease
	strikes  int
	claimed  bool // from the table, not from an arrival
	event    *Event
	slow     bool  // the last try took too long
	broken   error // why the body cannot be understood
	attempts int   // tries before this one
}

// size is about what an item takes of memory.
func (it *item) size() int64 { return int64(len(it.event.Data)) + 512 }

// backend is the statements that differ between the databases. Each is a single
// statement, or runs within a transaction of its own, and does no harm when it
// runs twice: inserts skip known ids, updates are fenced by the lease.
type backend interface {
	// insert adds rows whose id is new, in order, and returns those by id. The
	// first given rows come under the lease until then, except where an open
	// row of the same key is not held by this instance.
	insert(ctx context.Context, rows []*row, given int, lease int64, now, until time.Time) (map[string]inserted, error)
	// claim takes over due rows that are the first open one of their key.
	claim(ctx context.Context, lease int64, now, until time.Time, limit int) ([]*item, error)
	// finish marks items within tx and returns how many: those whose lease
	// holds and whose key has no earlier open row outside of items.
	finish(ctx context.Context, tx *sql.Tx, items []*item, now time.Time) (int, error)
	// ready prepares what finish needs, before its transaction begins.
	ready(ctx context.Context) error
	// giveBack ends leases early, so that the rows are due at once.
	giveBack(ctx context.Context, items []*item, now time.Time) error
	// analyze refreshes the planner's statistics.
	analyze(ctx context.Context) error
	// time is t as a parameter of a statement.
	time(t time.Time) any
	close() error
}

// open is the condition of the partial indexes, which the planners recognize
// only word for word.
const open = `status IN ('PENDING', 'FAILED')`

// statement is prepared when it is first needed, since the database may be away
// when the program starts.
type statement struct {
	db   *sql.DB
	text string

	mu   sync.Mutex
	stmt *sql.Stmt
}

// ready prepares the statement, if that is not done. It must not wait for a
// connection while its caller holds a transaction open on the only one.
func (s *statement) ready(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stmt != nil {
		return nil
	}
	var err error
	s.stmt, err = s.db.PrepareContext(ctx, s.text)
	return err
}

func (s *statement) query(ctx context.Context, args ...any) (*sql.Rows, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	return s.stmt.QueryContext(ctx, args...)
}

func (s *statement) exec(ctx context.Context, args ...any) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	_, err := s.stmt.ExecContext(ctx, args...)
	return err
}

// execIn runs the statement, which is ready, within a transaction and returns
// how many rows it changed.
func (s *statement) execIn(ctx context.Context, tx *sql.Tx, args ...any) (int, error) {
	stmt := tx.StmtContext(ctx, s.stmt)
	defer stmt.Close()
	res, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

func (s *statement) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stmt == nil {
		return nil
	}
	return s.stmt.Close()
}

// table is what both backends share.
type table struct {
	db     *sql.DB
	toTime func(time.Time) any
}

func (t *table) time(at time.Time) any { return t.toTime(at) }

// fail records a failed try and ends the lease; false when it was lost.
func (t *table) fail(ctx context.Context, it *item, status Status, strikes int, reason string, now, due time.Time) (bool, error) {
	var finished any
	if status == StatusQuarantined {
		finished = t.toTime(now)
	}
	res, err := t.db.ExecContext(ctx, `
		UPDATE inbox_events
		SET status = $1, attempts = $2, strikes = $3, last_error = $4, due_at = $5, finished_at = $6, lease = 0
		WHERE seq = $7 AND lease = $8`,
		string(status), it.attempts+1, strikes, reason, t.toTime(due), finished, it.seq, it.lease)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// bodies reads the bodies of known ids.
func (t *table) bodies(ctx context.Context, ids []string) (_ map[string][]byte, err error) {
	marks, args := placeholders(ids, 1)
	//nolint:gosec // only placeholders are put together.
	query := `SELECT id, body FROM inbox_events WHERE id IN (` + marks + `)`
	rows, err := t.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read messages back: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	out := make(map[string][]byte, len(ids))
	for rows.Next() {
		var id string
		var body []byte
		if err := rows.Scan(&id, &body); err != nil {
			return nil, fmt.Errorf("read messages back: %w", err)
		}
		out[id] = body
	}
	return out, rows.Err()
}

// placeholders gives "$first, $first+1, …" and the items as arguments.
func placeholders[T any](items []T, first int) (string, []any) {
	marks, args := make([]string, len(items)), make([]any, len(items))
	for i, item := range items {
		marks[i], args[i] = "$"+strconv.Itoa(first+i), item
	}
	return strings.Join(marks, ", "), args
}

// timestamp scans what either database gives for a time: SQLite's driver gives
// integers of microseconds where its data source does not turn them into times.
type timestamp struct {
	at *time.Time
}

func (ts timestamp) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*ts.at = time.Time{}
	case time.Time:
		*ts.at = v.UTC()
	case int64:
		*ts.at = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("a time as %T", value)
	}
	return nil
}

// claimColumns is what scanItem reads, in its order.
const claimColumns = `seq, id, ordering_key, version, attempts, strikes, last_error = '` + tookTooLong + `',
	traceparent, sent_at, received_at, body`

func scanItem(rows *sql.Rows) (*item, error) {
	var id, traceparent string
	var body []byte
	var sent, received time.Time
	it := &item{claimed: true}
	var subject Subject
	if err := rows.Scan(&it.seq, &id, &subject.Key, &subject.Version, &it.attempts, &it.strikes, &it.slow, &traceparent,
		timestamp{&sent}, timestamp{&received}, &body); err != nil {
		return nil, err
	}
	it.event, it.broken = parse(id, body)
	it.event.Subject, it.event.Traceparent = subject, traceparent
	it.event.SentAt, it.event.ReceivedAt = sent, received
	return it, nil
}

// scanItems reads what a claim took, in the order of arrival.
func scanItems(rows *sql.Rows, lease int64, until time.Time) (items []*item, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		it, err := scanItem(rows)
		if err != nil {
			return nil, err
		}
		it.lease, it.until = lease, until
		items = append(items, it)
	}
	return items, rows.Err()
}
