package faults_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/postgres"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/sqldb/sqldbtest"
	"hirewire.dev/platform/sqldb/sqldbtest/pgproxy"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// behindProxy puts a proxy between the services of a kind and PostgreSQL: start the stack with the cfg that is returned.
func behindProxy(t *testing.T, cfg stack.Config, kind, setting string) (stack.Config, *pgproxy.Proxy) {
	t.Helper()
	plan, err := stack.NewPlan(cfg) // a plan made again in the same folder is the same
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range plan.Services {
		if s.Kind != kind {
			continue
		}
		proxy, err := pgproxy.Start(s.Env[setting])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = proxy.Close() })
		env := maps.Clone(cfg.Env)
		if env == nil {
			env = map[string]map[string]string{}
		}
		env[kind] = maps.Clone(env[kind])
		if env[kind] == nil {
			env[kind] = map[string]string{}
		}
		env[kind][setting] = proxy.URL(s.Env[setting])
		cfg.Env = env
		return cfg, proxy
	}
	t.Fatalf("the stack has no %s", kind)
	return cfg, nil
}

// ownPostgres is a server that the test may crash and freeze.
func ownPostgres(t *testing.T) *postgres.Server {
	t.Helper()
	server, err := postgres.Start(t.Context(), postgres.Options{Durable: true})
	if err != nil {
		sqldbtest.LeaveOut(t, fmt.Sprintf("outages of PostgreSQL, which cannot be started here: %v", err))
	}
	t.Cleanup(server.Stop)
	return server
}

// ledger is what a bank received, by event.
type ledger map[string][]mockbank.Request

// readLedger fails for a message whose signature is wrong, or whose attempts differ in their body (I4).
func readLedger(t *testing.T, bank *mockbank.Bank) ledger {
	t.Helper()
	l := ledger{}
	for _, r := range bank.Requests() {
		if !r.Valid {
			t.Errorf("%s came with a wrong signature", r.ID)
		}
		if before := l[r.ID]; len(before) > 0 && before[0].Body != r.Body {
			t.Errorf("%s came with different bodies", r.ID)
		}
		l[r.ID] = append(l[r.ID], r)
	}
	return l
}

// posts is how many there were in all.
func (l ledger) posts() (n int) {
	for _, requests := range l {
		n += len(requests)
	}
	return n
}

// assertAll fails for published events that did not arrive (I1), and for more POSTs than one each and the spare ones (I5).
func (l ledger) assertAll(t *testing.T, published map[string]time.Time, spare int) {
	t.Helper()
	lost := 0
	for id := range published {
		if len(l[id]) == 0 {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d events are lost", lost, len(published))
	}
	if posts := l.posts(); posts > len(published)+spare {
		t.Errorf("%d POSTs for %d events, want at most %d more", posts, len(published), spare)
	}
}

// metric reads one value from the page of a service; labels are part of the name.
func metric(t *testing.T, client *http.Client, base, name string) float64 {
	t.Helper()
	page := get(t, client, base+"/metrics").body
	for line := range strings.Lines(page) {
		var value float64
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("%s shows no %s", base, name)
	return 0
}

type answer struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

func get(t *testing.T, client *http.Client, url string) answer {
	t.Helper()
	began := time.Now()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body), time.Since(began)}
}

// settle waits until a subscription has so many deliveries, all delivered.
func settle(t *testing.T, n *programs.Notifier, subscription string, delivered int, within time.Duration) {
	t.Helper()
	n.AwaitBalance(t, within, &notifierv1.Balance{SubscriptionId: subscription, Delivered: int64(delivered)})
}
