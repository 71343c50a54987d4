package banksvc

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hirewire.dev/platform/sqldb/sqldbtest"
)

// relay is a TCP proxy that can be cut, or left hanging.
type relay struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns map[net.Conn]bool
	cut   bool
	gate  chan struct{} // closed while bytes flow
	wg    sync.WaitGroup
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, target: target, conns: map[net.Conn]bool{}, gate: make(chan struct{})}
	close(r.gate)
	r.wg.Go(r.accept)
	t.Cleanup(func() {
		_ = l.Close()
		r.set(true)
		r.wg.Wait()
	})
	return r
}

func (r *relay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		r.mu.Lock()
		if r.cut {
			_, _ = in.Close(), out.Close()
		} else {
			r.conns[in], r.conns[out] = true, true
		}
		r.mu.Unlock()
		r.wg.Go(func() { r.copy(in, out) })
		r.wg.Go(func() { r.copy(out, in) })
	}
}

func (r *relay) copy(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		gate := r.gate
		r.mu.Unlock()
		<-gate
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// set cuts all connections and takes no more, or lets them through again.
func (r *relay) set(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
	select {
	case <-r.gate:
	default:
		close(r.gate)
	}
	if cut {
		for c := range r.conns {
			_ = c.Close()
		}
		clear(r.conns)
	}
}

// hang keeps connections open and lets nothing through, until set.
func (r *relay) hang() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = make(chan struct{})
}

// overRelay is the database's URL by way of a relay.
func overRelay(t *testing.T, raw string) (string, *relay) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	r := newRelay(t, u.Host)
	u.Host = r.listener.Addr().String()
	return u.String(), r
}

// While the database is away the webhook says 503 with Retry-After and never 2xx; when it is back, nothing was lost.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	for _, how := range []struct {
		name string
		away func(*relay)
	}{
		{"cut", func(r *relay) { r.set(true) }},
		{"hanging", (*relay).hang},
	} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			database, r := overRelay(t, sqldbtest.PostgresURL(t))
			b := start(t, database, alone(newTruth(t)))
			before, during := created(person("Ada Byron")), created(person("Bo Ek"))
			b.mustSend(t, before)
			how.away(r)
			began := time.Now()
			await(t, "not ready", func() bool { return b.get(t, "/readyz", "").status == http.StatusServiceUnavailable })
			if took := time.Since(began); took > 2500*time.Millisecond {
				t.Errorf("not ready after %s", took)
			}
			for range 2 {
				began := time.Now()
				a := b.send(t, during)
				if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
					t.Fatalf("%d, Retry-After %q", a.status, a.header.Get("Retry-After"))
				}
				if took := time.Since(began); took > 8*time.Second {
					t.Errorf("answered after %s", took)
				}
			}
			if a := b.get(t, "/healthz", ""); a.status != http.StatusOK {
				t.Errorf("not alive: %d", a.status)
			}
			if a := b.get(t, "/v1/accounts", operatorKey); a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout {
				t.Errorf("API: %d %s", a.status, a.body)
			}
			r.set(false)
			await(t, "readiness", func() bool { return b.get(t, "/readyz", "").status == http.StatusOK })
			await(t, "good answer", func() bool { return b.send(t, during).status == http.StatusOK })
			b.settled(t)
			if n := len(b.accounts(t)); n != 2 {
				t.Errorf("%d accounts", n)
			}
		})
	}
}

func TestLockedSQLite(t *testing.T) {
	t.Parallel()
	database := sqldbtest.SQLiteURL(t)
	b := start(t, database, alone(newTruth(t)))
	e := created(person("Ada Byron"))
	other := sqldbtest.Open(t, database)
	conn, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	if a := b.send(t, e); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("%d", a.status)
	}
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	await(t, "good answer", func() bool { return b.send(t, e).status == http.StatusOK })
	b.settled(t)
	if n := len(b.accounts(t)); n != 1 {
		t.Errorf("%d accounts", n)
	}
}

// On a full disk the webhook says 503, and what it said 200 to is there when there is room again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		sqldbtest.LeaveOut(t, fmt.Sprintf("a full disk: a small one cannot be mounted here (%v)", err))
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	database := "sqlite:" + filepath.Join(dir, "bank.db")
	b := start(t, database, alone(newTruth(t)))
	var accepted []fact
	var refused int
	for refused < 5 {
		e := created(person("Ada " + strings.Repeat("B", 200)))
		switch a := b.send(t, e); a.status {
		case http.StatusOK:
			accepted = append(accepted, e)
		case http.StatusServiceUnavailable:
			if refused++; a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		default:
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	t.Logf("full after %d events", len(accepted))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	b.mustSend(t, accepted[:10]...)
	b.settled(t)
	all := b.accounts(t)
	for _, e := range accepted {
		if all[e.employee.ID] == nil {
			t.Fatal("an acknowledged event was lost")
		}
	}
	b.stop()
	var verdict string
	if err := sqldbtest.Open(t, database).GetContext(t.Context(), &verdict, "PRAGMA integrity_check"); err != nil || verdict != "ok" {
		t.Errorf("%s, %v", verdict, err)
	}
}

// A stop under load: what was acknowledged is there after it, and nothing that was in flight got a wrong answer.
func TestStopUnderLoad(t *testing.T) {
	engines(t, func(t *testing.T, database string) {
		tr := newTruth(t)
		b := start(t, database, alone(tr))
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var accepted []fact
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				client := newClient()
				defer client.CloseIdleConnections()
				for ctx.Err() == nil {
					e := created(person("Ada Byron"))
					res, err := client.Do(b.signed(t, e.id, e.body()))
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					switch res.StatusCode {
					case http.StatusOK:
						mu.Lock()
						accepted = append(accepted, e)
						mu.Unlock()
					case http.StatusServiceUnavailable:
					default:
						t.Errorf("%d", res.StatusCode)
					}
				}
			})
		}
		await(t, "load", func() bool { mu.Lock(); defer mu.Unlock(); return len(accepted) > 500 })
		began := time.Now()
		b.stop()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("stopped after %s", took)
		}
		cancel()
		wg.Wait()
		again := start(t, database, func(c *Config) { alone(tr)(c); c.WebhookSecrets = WebhookSecrets{b.secret} })
		again.settled(t)
		all := again.accounts(t)
		for _, e := range accepted {
			if all[e.employee.ID] == nil {
				t.Fatal("an acknowledged event was lost")
			}
		}
		t.Logf("%d acknowledged, %d accounts", len(accepted), len(all))
	})
}
