//go:build linux

package egress_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// Two public addresses, at which the bank listens; in the namespace they are loopback's like all others.
const (
	publicV4 = "1.2.3.4"
	publicV6 = "2a00:1450:4001::1"
	bankPort = "8443"
)

func addrs(list ...string) func(int) answer {
	a := answer{}
	for _, s := range list {
		a.addrs = append(a.addrs, netip.MustParseAddr(s))
	}
	return func(int) answer { return a }
}

func many(n int, prefix string, more ...string) func(int) answer {
	var list []string
	for i := range n {
		list = append(list, prefix+strconv.Itoa(i+1))
	}
	return addrs(append(list, more...)...)
}

// evil are the names that answer public addresses while the subscription is verified, and this when an event is due.
var evil = []struct {
	name    string
	say     func(query int) answer
	outcome string // empty: whatever, as long as no packet goes astray
}{
	{"rebind.test", addrs("127.0.0.1"), "blocked_address"},
	{"rebind-v6.test", addrs("::1"), "blocked_address"},
	{"zero.test", addrs("0.0.0.0"), "blocked_address"},
	{"unspecified.test", addrs("::"), "blocked_address"},
	{"private.test", addrs("10.0.0.1"), "blocked_address"},
	{"private-two.test", addrs("172.16.0.1"), "blocked_address"},
	{"private-three.test", addrs("192.168.0.1"), "blocked_address"},
	{"metadata.test", addrs("169.254.169.254"), "blocked_address"},
	{"shared.test", addrs("100.64.0.1"), "blocked_address"},
	{"alibaba.test", addrs("100.100.100.200"), "blocked_address"},
	{"benchmark.test", addrs("198.18.0.1"), "blocked_address"},
	{"documentation.test", addrs("203.0.113.9"), "blocked_address"},
	{"broadcast.test", addrs("255.255.255.255"), "blocked_address"},
	{"multicast.test", addrs("224.0.0.1"), "blocked_address"},
	{"mapped.test", addrs("::ffff:10.0.0.1"), "blocked_address"},
	{"compatible.test", addrs("::127.0.0.1"), "blocked_address"},
	{"nat64.test", addrs("64:ff9b::7f00:1"), "blocked_address"},
	{"nat64-local.test", addrs("64:ff9b:1::a00:1"), "blocked_address"},
	{"sixtofour.test", addrs("2002:7f00:1::1"), "blocked_address"},
	{"teredo.test", addrs("2001::1"), "blocked_address"},
	{"unique-local.test", addrs("fd00:ec2::254"), "blocked_address"},
	{"link-local.test", addrs("fe80::1"), "blocked_address"},
	{"site-local.test", addrs("fec0::1"), "blocked_address"},
	{"srv6.test", addrs("5f00::1"), "blocked_address"},
	{"discard.test", addrs("100::1"), "blocked_address"},
	{"hundred.test", many(100, "10.0.0."), "blocked_address"},
	{"alias.test", func(int) answer { return answer{alias: "behind.test"} }, "blocked_address"},
	{"both.test", addrs("10.0.0.1", "fd00::1"), "blocked_address"},
	{"mixed.test", many(99, "192.168.7.", publicV4), ""},
	{"flip.test", func(query int) answer {
		if query%3 == 0 {
			return addrs(publicV4)(query)
		}
		return addrs("127.0.0.1", "::1", "10.0.0.1")(query)
	}, ""},
	{"nowhere.test", nil, "dns_failed"},
	{"servfail.test", func(int) answer { return answer{fail: true} }, "dns_failed"},
	{"loop.test", func(int) answer { return answer{alias: "loop.test"} }, "dns_failed"},
	{"late.test", func(int) answer {
		return answer{addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, after: 6 * time.Second}
	}, "dns_failed"},
}

// TestInside runs in the namespace; TestNothingLeavesForRefusedAddresses starts it there.
func TestInside(t *testing.T) {
	if os.Getenv(insideEnv) == "" {
		t.Skip("only in the namespace of another test")
	}
	dir := t.TempDir()
	var names []string
	for _, e := range evil {
		names = append(names, e.name)
	}
	ca := certify(t, dir, append(names, "good.test", publicV4, publicV6)...)
	dns := startNameServer(t)
	dns.says("behind.test", addrs("192.168.0.1"))
	for _, name := range append(names, "good.test") {
		dns.says(name, addrs(publicV4))
	}
	s := programs.Start(t, stack.Config{Dir: t.TempDir(), Env: map[string]map[string]string{"notifier": {
		"NOTIFIER_ALLOW_CIDRS": "", "NOTIFIER_CA_FILE": ca, "NOTIFIER_RETRY_SCHEDULE": "0s",
		"HTTP_PROXY": "http://10.9.9.9:3128", "HTTPS_PROXY": "http://10.9.9.9:3128", "ALL_PROXY": "socks5://10.9.9.9:1080",
		"http_proxy": "http://10.9.9.9:3128", "https_proxy": "http://10.9.9.9:3128",
	}}})
	n := s.Notifier(t, 1)
	// The name server, and what the test itself and the employee service call. No subscription may name these: see below.
	own := map[string]bool{"127.0.0.1:53": true}
	for _, p := range s.Processes {
		for _, setting := range []string{"NOTIFIER_HTTP_ADDR", "NOTIFIER_GRPC_ADDR", "EMPLOYEE_HTTP_ADDR", "EMPLOYEE_GRPC_ADDR"} {
			own[p.Env[setting]] = true
		}
	}
	seen := startRecorder(t, func(from, to netip.AddrPort) bool {
		return own[to.String()] || own[from.String()] || to.Addr().String() == publicV4 || to.Addr().String() == publicV6
	})
	assertRecorderSees(t, seen)

	v4 := mockbank.Open(t, dir, mockbank.Config{Addr: net.JoinHostPort(publicV4, bankPort), Once: true})
	v6 := mockbank.Open(t, dir, mockbank.Config{Addr: net.JoinHostPort(publicV6, bankPort), Once: true})
	v6.Trust(v4.Secret)
	b := bench{n: n, bank: v4}

	t.Run("public addresses are reached", func(t *testing.T) { b.testPublic(t, v6) })
	t.Run("hostile URLs are refused", func(t *testing.T) { b.testRefused(t, s) })
	t.Run("redirects are not followed", func(t *testing.T) { b.testRedirects(t, dir) })
	t.Run("names that change are refused", func(t *testing.T) { b.testNames(t, dns) })
	for where, packets := range seen.take() {
		t.Errorf("%d packets went astray: %s", packets, where)
	}
	n.Balance(t, "")
}

// bench is what the tests in the namespace share.
type bench struct {
	n    *programs.Notifier
	bank *mockbank.Bank
}

func (b bench) subscription(name, url string) *notifierv1.Subscription {
	return &notifierv1.Subscription{
		Name: name, Url: url, Secret: b.bank.Secret.Reveal(), RetrySchedule: []*durationpb.Duration{durationpb.New(0)},
		Filter: fmt.Sprintf("event.data.employee.department == %q", name),
	}
}

// attempt publishes an event for a subscription, and gives its one attempt.
func (b bench) attempt(t *testing.T, s *notifierv1.Subscription) *notifierv1.Attempt {
	t.Helper()
	event := programs.Event(t, id.New("emp"), 1, s.GetName())
	b.n.Publish(t, event)
	var last *notifierv1.Attempt
	programs.Eventually(t, 15*time.Second, func() error {
		d, attempts := b.n.Attempts(t, &notifierv1.ListDeliveriesRequest{SubscriptionId: s.GetId(), EventId: event.GetId()})
		if d.GetStatus() == notifierv1.Delivery_PENDING {
			return fmt.Errorf("the delivery is pending after %d attempts", len(attempts))
		}
		last = attempts[len(attempts)-1]
		return nil
	})
	return last
}

func (b bench) testPublic(t *testing.T, v6 *mockbank.Bank) {
	for _, url := range []string{"https://" + publicV4 + ":" + bankPort, "https://[" + publicV6 + "]:" + bankPort, "https://good.test:" + bankPort} {
		s := b.n.Subscribe(t, b.subscription("public "+url, url+"/hook"))
		if a := b.attempt(t, s); a.GetOutcome() != "delivered" {
			t.Errorf("%s: %v", url, a)
		}
	}
	if b.bank.Count() != 2 || v6.Count() != 1 {
		t.Errorf("%d and %d POSTs came, want 2 and 1", b.bank.Count(), v6.Count())
	}
}

func (b bench) testRefused(t *testing.T, s *programs.Stack) {
	victim := b.n.Subscribe(t, b.subscription("victim", "https://good.test:"+bankPort+"/hook"))
	hostile := append([]string{
		"https://" + s.Processes["notifier-1"].Env["NOTIFIER_GRPC_ADDR"] + "/", s.Description.Notifier.HTTP + "/",
	}, hostileURLs...)
	if host, err := os.Hostname(); err == nil {
		hostile = append(hostile, "https://"+host+"/")
	}
	for i, url := range hostile {
		_, err := b.n.Subscriptions.CreateSubscription(t.Context(), &notifierv1.CreateSubscriptionRequest{Subscription: b.subscription(fmt.Sprintf("hostile %d", i), url)})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("create %q: %v, want it refused", url, err)
		}
		_, err = b.n.Subscriptions.UpdateSubscription(t.Context(), &notifierv1.UpdateSubscriptionRequest{
			Subscription: &notifierv1.Subscription{Id: victim.GetId(), Url: url}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"url"}},
		})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("update to %q: %v, want it refused", url, err)
		}
	}
	if a := b.attempt(t, victim); a.GetOutcome() != "delivered" {
		t.Errorf("after all the refused updates, a delivery ends as %v", a)
	}
}

func (b bench) testRedirects(t *testing.T, dir string) {
	for i, location := range []string{"https://169.254.169.254/latest/meta-data/", "https://10.0.0.1/", "http://127.0.0.1/", "https://[::1]/", "//192.168.0.1/"} {
		bank := mockbank.Open(t, dir, mockbank.Config{
			Addr: net.JoinHostPort(publicV4, "0"), Once: true, Answer: func(context.Context, mockbank.Request) mockbank.Answer {
				return mockbank.Answer{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {location}}}
			},
		})
		bank.Trust(b.bank.Secret)
		s := b.n.Subscribe(t, b.subscription(fmt.Sprintf("redirect %d", i), bank.URL+"/hook"))
		if a := b.attempt(t, s); a.GetOutcome() != "rejected" || a.GetStatusCode() != http.StatusTemporaryRedirect {
			t.Errorf("to %s: %v, want it rejected", location, a)
		}
	}
}

// assertRecorderSees fails when the recorder misses what it is for.
func assertRecorderSees(t *testing.T, seen *recorder) {
	t.Helper()
	canaries := []string{"169.254.169.254:443", "10.1.2.3:8443", "192.168.0.1:80", "127.0.0.1:443", "[64:ff9b::7f00:1]:443", "[fd00:ec2::254]:443", "8.8.8.8:443"}
	for _, addr := range canaries {
		if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", addr); err == nil {
			conn.Close()
			t.Errorf("somebody listens at %s", addr)
		}
	}
	if strange := seen.take(); len(strange) != len(canaries) {
		t.Fatalf("the recorder saw %v of connections to %v: it proves nothing", strange, canaries)
	}
}

func (b bench) testNames(t *testing.T, dns *nameServer) {
	var all []*notifierv1.Subscription
	for _, e := range evil {
		all = append(all, b.n.Subscribe(t, b.subscription(e.name, "https://"+e.name+":"+bankPort+"/hook")))
	}
	for _, e := range evil {
		dns.says(e.name, e.say)
	}
	for i, e := range evil {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			tries := 1
			if e.outcome == "" {
				tries = 6
			}
			for range tries {
				a := b.attempt(t, all[i])
				if e.outcome != "" && a.GetOutcome() != e.outcome {
					t.Errorf("the attempt is %v, want %s", a, e.outcome)
				}
				if a.GetDurationMs() > 3500 {
					t.Errorf("the attempt took %d ms, a lookup and a connection together have 3 s", a.GetDurationMs())
				}
				if e.outcome == "blocked_address" && !strings.Contains(a.GetError(), "refused by the rule") {
					t.Errorf("the attempt does not name the rule: %q", a.GetError())
				}
			}
		})
	}
}
