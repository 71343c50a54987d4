package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"hirewire.dev/webhook/inbox"
)

// step is one thing that happens to an inbox: what, and to whom.
type step struct {
	op  byte // modulo the number of operations
	arg byte
}

const (
	opDeliver = iota // the sender's next message of a key, or the last one again
	opRepeat         // an earlier message once more
	opMode           // the handler changes its behaviour for a key
	opWait           // time goes by
	opCrash          // a process dies with its leases
	opRestart        // a process ends in order and starts again
	opForgive        // an operator reprocesses what is quarantined
	ops
)

const (
	keys      = 3
	processes = 2
)

// mode is how the handler treats the events of a key.
type mode byte

const (
	works mode = iota
	fails
	panics
	poisons
	waits
	hangs // for longer than the lease, before its transaction
	modes
)

// world is a sender, an operator, and two processes that share one database.
type world struct {
	path string

	mu    sync.Mutex
	modes [keys]mode

	procs     [processes]*machine
	sent      [keys]int64 // the version that the sender is at
	confirmed map[string]int64
	forgiven  map[string]bool
}

// machine is one process with a connection of its own, so that it can die.
type machine struct {
	db     *sql.DB
	box    *inbox.Inbox
	cancel context.CancelFunc
	done   chan error
}

func (w *world) boot(i int) error {
	dsn := "file:" + w.path + "?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	if err := inbox.Migrate(context.Background(), db, inbox.SQLite); err != nil {
		return err
	}
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS effects (nth integer PRIMARY KEY, id text, key text, n bigint)"); err != nil {
		return err
	}
	box, err := inbox.New(inbox.Config{
		DB: db, Dialect: inbox.SQLite, Subject: subject, Prepare: w.prepare, Handle: w.handle, Workers: 2, MaxQueued: 4, MaxBatch: 3,
		Backoff: func(n int) time.Duration { return time.Duration(n) * time.Second },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &machine{db: db, box: box, cancel: cancel, done: make(chan error, 1)}
	go func() { m.done <- box.Run(ctx) }()
	w.procs[i] = m
	return nil
}

func (w *world) modeOf(e *inbox.Event) mode {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.modes[e.Subject.Key[0]-'a']
}

func (w *world) prepare(_ context.Context, events []*inbox.Event) {
	for _, e := range events {
		if w.modeOf(e) == hangs {
			time.Sleep(20 * time.Second)
			return
		}
	}
}

func (w *world) handle(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
	if err := effect(ctx, tx, e); err != nil {
		return err
	}
	switch w.modeOf(e) {
	case fails:
		return errors.New("fails")
	case panics:
		panic("panics")
	case poisons:
		return inbox.ErrPoison
	case waits:
		return inbox.ErrTransient
	default:
		return nil
	}
}

// end stops a process, in order or by taking its database away first.
func (m *machine) end(crash bool) error {
	if crash {
		m.db.Close()
	}
	m.cancel()
	err := <-m.done
	if crash {
		err = nil
	}
	return errors.Join(err, m.db.Close())
}

func (w *world) id(key int, n int64) string { return fmt.Sprintf("evt_%c_%d", 'a'+key, n) }

func (w *world) deliver(i, key int, n int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	id := w.id(key, n)
	if err := w.procs[i].box.Accept(ctx, delivery(id, string(rune('a'+key)), n)); err != nil {
		return err
	}
	w.confirmed[id] = n
	return nil
}

func (w *world) do(s step) error {
	i, key := int(s.arg)%processes, int(s.arg/2)%keys
	switch s.op % ops {
	case opDeliver:
		if w.sent[key] == 0 || w.confirmed[w.id(key, w.sent[key])] != 0 {
			w.sent[key]++
		}
		return w.deliver(i, key, w.sent[key])
	case opRepeat:
		if n := w.sent[key]; n > 0 && w.confirmed[w.id(key, n)] != 0 {
			return w.deliver(i, key, 1+int64(s.arg)%n)
		}
	case opMode:
		w.mu.Lock()
		w.modes[key] = mode(s.arg/8) % modes
		w.mu.Unlock()
	case opWait:
		time.Sleep(time.Duration(s.arg) * 100 * time.Millisecond)
	case opCrash, opRestart:
		if err := w.procs[i].end(s.op%ops == opCrash); err != nil {
			return err
		}
		return w.boot(i)
	case opForgive:
		filter := inbox.Filter{Statuses: []inbox.Status{inbox.StatusQuarantined}}
		page, _, err := w.procs[i].box.List(context.Background(), filter, "", 100)
		if err != nil {
			return err
		}
		for _, r := range page {
			w.forgiven[r.ID] = true
		}
		_, err = w.procs[i].box.ReprocessAll(context.Background(), filter)
		return err
	}
	return nil
}

// check heals everything, lets time go by, and compares with what was promised.
func (w *world) check() error {
	w.mu.Lock()
	w.modes = [keys]mode{}
	w.mu.Unlock()
	box := w.procs[0].box
	for waited := time.Duration(0); ; waited += 5 * time.Second {
		backlog, err := box.Backlog(context.Background())
		if err != nil {
			return err
		}
		if backlog.Pending+backlog.Failed == 0 {
			break
		}
		if waited > 5*time.Minute {
			return fmt.Errorf("not done in five minutes: %+v", backlog)
		}
		time.Sleep(5 * time.Second)
	}
	for id := range w.confirmed {
		r, err := box.Get(context.Background(), id)
		if err != nil {
			return fmt.Errorf("%s was confirmed: %w", id, err)
		}
		want := 1
		if r.Status == inbox.StatusQuarantined {
			want = 0
		}
		var got int
		if err := w.procs[0].db.QueryRow("SELECT count(*) FROM effects WHERE id = $1", id).Scan(&got); err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s is %s with %d effects", id, r.Status, got)
		}
	}
	return w.checkOrder()
}

func (w *world) checkOrder() (err error) {
	rows, err := w.procs[0].db.Query("SELECT id, key, n FROM effects ORDER BY nth")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	last := map[string]int64{}
	for rows.Next() {
		var id, key string
		var n int64
		if err := rows.Scan(&id, &key, &n); err != nil {
			return err
		}
		if w.forgiven[id] {
			continue // an operator may reorder
		}
		if n <= last[key] {
			return fmt.Errorf("%s took effect after version %d", id, last[key])
		}
		last[key] = n
	}
	return rows.Err()
}

// plays numbers the databases, of which one test uses many.
var plays atomic.Int64

// play runs steps in a bubble of virtual time.
func play(t *testing.T, steps []step) (err error) {
	dir := t.TempDir()
	synctest.Test(t, func(*testing.T) {
		w := &world{path: filepath.Join(dir, fmt.Sprintf("inbox_%d.db", plays.Add(1))), confirmed: map[string]int64{}, forgiven: map[string]bool{}}
		err = func() error {
			for i := range processes {
				if err := w.boot(i); err != nil {
					return err
				}
			}
			for n, s := range steps {
				if err := w.do(s); err != nil {
					return fmt.Errorf("step %d, %+v: %w", n, s, err)
				}
			}
			return w.check()
		}()
		for _, m := range w.procs {
			if m != nil {
				err = errors.Join(err, m.end(false))
			}
		}
	})
	return err
}

// Whatever is delivered, repeated, failed, crashed, restarted and forgiven, in
// whatever order: what was confirmed takes effect once, and in order.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{op: rapid.SampledFrom([]byte{
				opDeliver, opDeliver, opDeliver, opRepeat, opMode, opWait, opWait, opCrash, opRestart, opForgive,
			}).Draw(rt, "op"), arg: rapid.Byte().Draw(rt, "arg")}
		}), 1, 60).Draw(rt, "steps")
		if err := play(t, steps); err != nil {
			rt.Fatal(err)
		}
	})
}

func FuzzMachine(f *testing.F) {
	f.Add([]byte{opDeliver, 0, opDeliver, 1, opCrash, 0, opDeliver, 0, opWait, 50})
	f.Add([]byte{opMode, 8, opDeliver, 0, opDeliver, 1, opWait, 255, opMode, 0, opForgive, 0, opRestart, 1})
	f.Fuzz(func(t *testing.T, program []byte) {
		var steps []step
		for i := 0; i+1 < len(program) && len(steps) < 60; i += 2 {
			steps = append(steps, step{program[i], program[i+1]})
		}
		if err := play(t, steps); err != nil {
			t.Fatal(err)
		}
	})
}
