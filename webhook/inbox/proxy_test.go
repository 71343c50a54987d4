package inbox_test

import (
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hirewire.dev/webhook/inbox"
)

// proxy stands between a client and PostgreSQL. When it is armed, it lets the
// server work and cuts the connection instead of passing the answer on.
type proxy struct {
	listener net.Listener
	target   string
	armed    atomic.Int64 // answers to swallow
	cuts     atomic.Int64
	wg       sync.WaitGroup
}

// startProxy returns a data source that leads through the proxy into the schema
// of db.
func startProxy(t *testing.T, db *database) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(os.Getenv("TEST_POSTGRES_DSN"))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: u.Host}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.listener.Close()
		p.wg.Wait()
	})
	u.Host = p.listener.Addr().String()
	q := u.Query()
	q.Set("search_path", db.dsn)
	u.RawQuery = q.Encode()
	return p, u.String()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.wg.Go(func() {
			io.Copy(server, client)
			server.Close()
		})
		p.wg.Go(func() {
			defer client.Close()
			defer server.Close()
			buf := make([]byte, 64<<10)
			for {
				n, err := server.Read(buf)
				if err != nil {
					return
				}
				if p.take() {
					p.cuts.Add(1)
					return
				}
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
		})
	}
}

func (p *proxy) take() bool {
	for {
		n := p.armed.Load()
		if n == 0 {
			return false
		}
		if p.armed.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// The answer to a statement gets lost after the server ran it, and lib/pq runs
// it again behind the caller's back (lib/pq#939). A naive insert doubles its
// row through this proxy; the inbox loses and doubles nothing.
func TestLostAnswers(t *testing.T) {
	db := openPostgres(t)
	p, dsn := startProxy(t, db)
	through, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer through.Close()
	through.SetMaxOpenConns(6)

	if _, err := through.Exec("CREATE TABLE naive (id text NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	p.armed.Store(1)
	if _, err := through.Exec("INSERT INTO naive (id) VALUES ('once')"); err != nil {
		t.Fatalf("the naive client noticed: %v", err)
	}
	if got := query[int](t, db, "SELECT count(*) FROM naive"); got != 2 {
		t.Fatalf("%d rows for the naive client: the proxy proves nothing", got)
	}

	c := config(db)
	c.DB, c.Lease = through, 2*time.Second
	box := start(t, c)
	stop := make(chan struct{})
	var cutter sync.WaitGroup
	cutter.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(15 * time.Millisecond):
				p.armed.Store(1)
			}
		}
	})
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for n := range int64(40) {
				d := delivery(fmt.Sprintf("evt_%d_%d", g, n), fmt.Sprintf("emp_%d", g), n)
				for box.Accept(t.Context(), d) != nil { // a sender tries again
					time.Sleep(2 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	cutter.Wait()
	p.armed.Store(0)
	idle(t, db)
	if got := effects(t, db); got != 640 {
		t.Errorf("%d effects", got)
	}
	if got := statuses(t, db); got != "640 PROCESSED" {
		t.Error(got)
	}
	inOrder(t, db)
	if n := p.cuts.Load(); n < 10 {
		t.Errorf("only %d answers were lost", n)
	}
	if n := box.journal.count(inbox.Parked); n > 0 {
		t.Errorf("%d events were blamed", n)
	}
}
