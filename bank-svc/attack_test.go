package banksvc

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hirewire.dev/platform/sqldb/sqldbtest"
)

// A head that comes byte by byte, and a body that does, end within their limits.
func TestSlowRequestsAreCutOff(t *testing.T) { //nolint:tparallel // The group ends before the rows are counted.
	t.Parallel() // it waits most of the time
	b := start(t, "sqlite:"+t.TempDir()+"/bank.db", alone(nil))
	l := good(t, b)
	head := "POST " + WebhookPath + " HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\nWebhook-Id: " + l.ids[0] +
		"\r\nWebhook-Timestamp: " + l.timestamps[0] + "\r\nWebhook-Signature: " + l.sigs[0] + "\r\n"
	t.Run("requests", func(t *testing.T) {
		for _, tc := range []struct {
			name, once, slow string
			limit            time.Duration
		}{
			{"head", "POST ", strings.Repeat("a", 60), 5 * time.Second},
			{"body", head + "Content-Length: " + strconv.Itoa(len(l.body)) + "\r\n\r\n", l.body, 10 * time.Second},
		} {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				conn := raw(t, b)
				began := time.Now()
				_, _ = io.WriteString(conn, tc.once)
				closed := make(chan struct{})
				go func() {
					defer close(closed)
					_, _ = io.Copy(io.Discard, conn)
				}()
				drip := time.NewTicker(time.Second)
				defer drip.Stop()
				for i := 0; ; i++ {
					select {
					case <-closed:
						if took := time.Since(began); took > tc.limit+2*time.Second {
							t.Errorf("closed after %s", took)
						}
						return
					case <-drip.C:
						if i >= len(tc.slow) || time.Since(began) > 2*tc.limit {
							t.Fatal("still open")
						}
						_, _ = io.WriteString(conn, tc.slow[i:i+1])
					}
				}
			})
		}
	})
	if n := stored(t, b); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// Thousands of idle connections and a slow-body attack, while the notifier's own requests stay quick.
func TestQuickUnderAttack(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		idle, slow, requests := 5000, 200, 1000
		if testing.Short() || strings.HasPrefix(url, "postgres") { // the connections are the same whatever the database
			idle, slow, requests = 500, 50, 500
		}
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < uint64(2*(idle+slow)+500) {
			sqldbtest.LeaveOut(t, fmt.Sprintf("an attack needs %d file descriptors, and there are %d", 2*(idle+slow)+500, limit.Cur))
		}
		b := start(t, url, alone(nil))
		var mu sync.Mutex
		var dripping []*tls.Conn
		var wg sync.WaitGroup
		var left atomic.Int64
		left.Store(int64(idle + slow))
		l := good(t, b)
		for range 32 {
			wg.Go(func() {
				for n := left.Add(-1); n >= 0; n = left.Add(-1) {
					conn := raw(t, b)
					if n < int64(slow) {
						_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\nWebhook-Id: %s\r\nWebhook-Timestamp: %s\r\n"+
							"Webhook-Signature: %s\r\nContent-Length: %d\r\n\r\n{", WebhookPath, l.ids[0], l.timestamps[0], l.sigs[0], len(l.body))
					} else {
						_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: bank\r\n\r\n")
					}
					if n < int64(slow) {
						mu.Lock()
						dripping = append(dripping, conn)
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		stop := make(chan struct{})
		wg.Go(func() { // the slow bodies go on, byte by byte
			for {
				select {
				case <-stop:
					return
				case <-time.After(500 * time.Millisecond):
					mu.Lock()
					for _, c := range dripping {
						_, _ = io.WriteString(c, " ")
					}
					mu.Unlock()
				}
			}
		})
		took := make([]time.Duration, requests)
		var at atomic.Int64
		var senders sync.WaitGroup
		for range 8 {
			senders.Go(func() {
				for i := at.Add(1) - 1; i < int64(requests); i = at.Add(1) - 1 {
					f := created(person("Ada Byron"))
					began := time.Now()
					if a := b.send(t, f); a.status != http.StatusOK {
						t.Errorf("%d %s", a.status, a.body)
					}
					took[i] = time.Since(began)
				}
			})
		}
		senders.Wait()
		close(stop)
		wg.Wait()
		slices.Sort(took)
		p50, p99 := took[len(took)/2], took[len(took)*99/100]
		t.Logf("%d idle, %d slow: p50 %s, p99 %s", idle, slow, p50, p99)
		if p99 > time.Second {
			t.Errorf("p99 is %s", p99)
		}
		b.settled(t)
		if n := len(b.accounts(t)); n != requests {
			t.Errorf("%d accounts for %d events", n, requests)
		}
	})
}
