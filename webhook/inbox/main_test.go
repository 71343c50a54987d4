package inbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/lib/pq"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"hirewire.dev/webhook"
	"hirewire.dev/webhook/inbox"
)

func TestMain(m *testing.M) {
	if os.Getenv("TEST_POSTGRES_DSN") == "" {
		announce("LEFT OUT of webhook/inbox: PostgreSQL: TEST_POSTGRES_DSN is not set (make test sets it)\n")
	}
	goleak.VerifyTestMain(m)
}

// announce writes to the stderr of go test itself where that can be reached: it swallows ours when all tests pass.
func announce(line string) {
	out := os.Stderr
	if parent, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", os.Getppid()), os.O_WRONLY|os.O_APPEND, 0); err == nil {
		defer parent.Close()
		out = parent
	}
	fmt.Fprint(out, line)
}

// database is one database of a test, with a table for effects.
type database struct {
	*sql.DB
	dialect inbox.Dialect
	dsn     string
}

// onEach runs a test on both databases.
func onEach(t *testing.T, test func(t *testing.T, db *database)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, openSQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, openPostgres(t)) })
}

func openSQLite(tb testing.TB) *database {
	tb.Helper()
	return sqliteAt(tb, filepath.Join(tb.TempDir(), "inbox.db"))
}

func sqliteAt(tb testing.TB, path string) *database {
	tb.Helper()
	dsn := "file:" + path + "?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_time_integer_format=unix_micro&_inttotime=1"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return prepare(tb, &database{DB: db, dialect: inbox.SQLite, dsn: dsn})
}

// openPostgres makes a schema of the test's own.
func openPostgres(tb testing.TB) *database {
	tb.Helper()
	dsn := os.Getenv("TEST_POSTGRES_DSN")
	if dsn == "" {
		tb.Skip("SKIPPED postgres: TEST_POSTGRES_DSN is not set")
	}
	admin, err := sql.Open("postgres", dsn)
	if err != nil {
		tb.Fatal(err)
	}
	schema := fmt.Sprintf("inbox_test_%d_%d", os.Getpid(), time.Now().UnixNano())
	if _, err := admin.Exec("CREATE SCHEMA " + schema); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		admin.Exec("DROP SCHEMA " + schema + " CASCADE")
		admin.Close()
	})
	u, err := url.Parse(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	q.Set("application_name", schema)
	u.RawQuery = q.Encode()
	db, err := sql.Open("postgres", u.String())
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(6)
	db.SetMaxIdleConns(6)
	return prepare(tb, &database{DB: db, dialect: inbox.PostgreSQL, dsn: schema})
}

func prepare(tb testing.TB, db *database) *database {
	tb.Helper()
	tb.Cleanup(func() { db.Close() })
	if err := inbox.Migrate(context.Background(), db.DB, db.dialect); err != nil {
		tb.Fatal(err)
	}
	// No unique key: an effect that happens twice must show.
	nth := "nth bigserial"
	if db.dialect == inbox.SQLite {
		nth = "nth integer PRIMARY KEY"
	}
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS effects (" + nth + ", id text NOT NULL, key text NOT NULL, n bigint NOT NULL)"); err != nil {
		tb.Fatal(err)
	}
	return db
}

// effect is a handler that records that it happened.
func effect(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO effects (id, key, n) VALUES ($1, $2, $3)", e.ID, e.Subject.Key, e.Subject.Version)
	return err
}

// payload is the data of the tests' events.
type payload struct {
	Key string `json:"key"`
	N   int64  `json:"n"`
}

func subject(e webhook.Event) (inbox.Subject, error) {
	var p payload
	if err := json.Unmarshal(e.Data, &p); err != nil {
		return inbox.Subject{}, err
	}
	if p.Key == "panic" {
		panic("no luck")
	}
	if p.Key == "refuse" {
		return inbox.Subject{}, errors.New("no such employee id")
	}
	return inbox.Subject{Key: p.Key, Version: p.N}, nil
}

// delivery is a message as a receiver hands it over.
func delivery(id, key string, n int64) webhook.Delivery {
	data, err := json.Marshal(payload{key, n})
	if err != nil {
		panic(err)
	}
	body := fmt.Appendf(nil, `{"id":%q,"type":"employee.created","timestamp":"2026-11-20T09:00:00Z","data":%s}`, id, data)
	event, err := webhook.ParseEvent(body)
	if err != nil {
		panic(err)
	}
	at := time.Now().UTC()
	return webhook.Delivery{
		Verification: webhook.Verification{ID: id, SentAt: at.Truncate(time.Second), Kind: webhook.KindHMAC},
		Body:         body, Event: event, ReceivedAt: at, Attempt: 2,
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

// journal collects observations.
type journal struct {
	mu     sync.Mutex
	counts map[inbox.What]int
	all    []inbox.Observation
}

func (j *journal) observe(o inbox.Observation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.counts == nil {
		j.counts = map[inbox.What]int{}
	}
	j.counts[o.What] += max(o.Count, 1)
	j.all = append(j.all, o)
}

func (j *journal) count(w inbox.What) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.counts[w]
}

func (j *journal) of(w inbox.What) (of []inbox.Observation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range j.all {
		if o.What == w {
			of = append(of, o)
		}
	}
	return of
}

// process is an inbox that runs.
type process struct {
	*inbox.Inbox
	journal journal
	stop    func() // ends Run and waits for it
}

func config(db *database) inbox.Config {
	return inbox.Config{
		DB: db.DB, Dialect: db.dialect, Handle: effect, Subject: subject,
		Poll: 20 * time.Millisecond,
		Backoff: func(int) time.Duration {
			return 10 * time.Millisecond
		},
	}
}

func start(tb testing.TB, c inbox.Config) *process {
	tb.Helper()
	p := &process{}
	c.Observe = p.journal.observe
	box, err := inbox.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	p.Inbox = box
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- box.Run(ctx) }()
	var stopped atomic.Bool
	p.stop = func() {
		if stopped.Swap(true) {
			return
		}
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("Run: %v", err)
		}
	}
	tb.Cleanup(p.stop)
	return p
}

// accept stores and fails the test if that fails.
func (p *process) accept(tb testing.TB, ds ...webhook.Delivery) {
	tb.Helper()
	for _, d := range ds {
		if err := p.Accept(tb.Context(), d); err != nil {
			tb.Fatal(err)
		}
	}
}

// acceptAll stores from 32 goroutines.
func acceptAll(tb testing.TB, p *process, ds []webhook.Delivery) {
	tb.Helper()
	var wg sync.WaitGroup
	next := make(chan webhook.Delivery)
	for range 32 {
		wg.Go(func() {
			for d := range next {
				if err := p.Accept(tb.Context(), d); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	for _, d := range ds {
		next <- d
	}
	close(next)
	wg.Wait()
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			tb.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// idle waits until nothing is open.
func idle(tb testing.TB, db *database) {
	tb.Helper()
	eventually(tb, "no open messages", func() bool {
		return query[int](tb, db, "SELECT count(*) FROM inbox_events WHERE status IN ('PENDING', 'FAILED')") == 0
	})
}

func query[T any](tb testing.TB, db *database, text string, args ...any) T {
	tb.Helper()
	var out T
	if err := db.QueryRow(text, args...).Scan(&out); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return out
}

// statuses is a summary such as "3 PROCESSED, 1 FAILED".
func statuses(tb testing.TB, db *database) string {
	tb.Helper()
	rows, err := db.Query("SELECT status, count(*) FROM inbox_events GROUP BY status ORDER BY status DESC")
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var status string
		var n int
		if err := rows.Scan(&status, &n); err != nil {
			tb.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%d %s", n, status))
	}
	if err := rows.Err(); err != nil {
		tb.Fatal(err)
	}
	return strings.Join(out, ", ")
}

// effects checks that each id had exactly one effect and returns how many.
func effects(tb testing.TB, db *database) int {
	tb.Helper()
	total := query[int](tb, db, "SELECT count(*) FROM effects")
	if ids := query[int](tb, db, "SELECT count(DISTINCT id) FROM effects"); ids != total {
		tb.Errorf("%d effects for %d ids", total, ids)
	}
	return total
}
