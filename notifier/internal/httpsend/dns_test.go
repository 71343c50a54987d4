package httpsend_test

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/egress"
	"hirewire.dev/notifier/internal/httpsend"
)

// dnsServer answers each question with what answer says.
func dnsServer(tb testing.TB, answer func(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody)) *net.Resolver {
	tb.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ended := make(chan struct{})
	tb.Cleanup(func() { pc.Close(); <-ended })
	go func() {
		defer close(ended)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			code, bodies := answer(q)
			reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true, RCode: code}, Questions: m.Questions}
			for _, b := range bodies {
				reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 0}, Body: b})
			}
			if out, err := reply.Pack(); err == nil {
				_, _ = pc.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		if strings.HasPrefix(network, "tcp") {
			network = "udp"
		}
		return (&net.Dialer{}).DialContext(ctx, network, pc.LocalAddr().String())
	}}
}

func a(addr string) dnsmessage.ResourceBody {
	return &dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()}
}

func aaaa(addr string) dnsmessage.ResourceBody {
	return &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(addr).As16()}
}

// F42.
func TestDNSFailures(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer  func(dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody)
		outcome delivery.Outcome
		rule    string
	}{
		"NXDOMAIN": {func(dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody) {
			return dnsmessage.RCodeNameError, nil
		}, delivery.OutcomeDNS, "no such host"},
		"SERVFAIL": {func(dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody) {
			return dnsmessage.RCodeServerFailure, nil
		}, delivery.OutcomeDNS, ""},
		"no addresses": {func(dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody) {
			return dnsmessage.RCodeSuccess, nil
		}, delivery.OutcomeDNS, ""},
		"a loop of names": {func(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody) {
			return dnsmessage.RCodeSuccess, []dnsmessage.ResourceBody{&dnsmessage.CNAMEResource{CNAME: q.Name}}
		}, delivery.OutcomeDNS, ""},
		"5 s delay": {func(dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody) {
			time.Sleep(5 * time.Second)
			return dnsmessage.RCodeNameError, nil
		}, delivery.OutcomeDNS, "3s"},
		"a private address": {func(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody) {
			if q.Type == dnsmessage.TypeA {
				return dnsmessage.RCodeSuccess, []dnsmessage.ResourceBody{a("10.0.0.1")}
			}
			return dnsmessage.RCodeSuccess, nil
		}, delivery.OutcomeBlocked, "10.0.0.0/8"},
		"a mapped private address": {func(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody) {
			if q.Type == dnsmessage.TypeAAAA {
				return dnsmessage.RCodeSuccess, []dnsmessage.ResourceBody{aaaa("::ffff:10.0.0.1")}
			}
			return dnsmessage.RCodeSuccess, nil
		}, delivery.OutcomeBlocked, "10.0.0.0/8"},
		"metadata behind NAT64": {func(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody) {
			if q.Type == dnsmessage.TypeAAAA {
				return dnsmessage.RCodeSuccess, []dnsmessage.ResourceBody{aaaa("64:ff9b::a9fe:a9fe")}
			}
			return dnsmessage.RCodeSuccess, nil
		}, delivery.OutcomeBlocked, "64:ff9b::/96"},
		"100 private addresses": {func(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody) {
			var all []dnsmessage.ResourceBody
			if q.Type == dnsmessage.TypeA {
				for i := range 50 { // as many as fit a packet
					all = append(all, a("10.0.0."+strconv.Itoa(i)))
				}
			}
			return dnsmessage.RCodeSuccess, all
		}, delivery.OutcomeBlocked, "10.0.0.0/8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender := newSender(t, httpsend.Config{Guard: &egress.Guard{}, Resolver: dnsServer(t, tt.answer)})
			bounded(t, 4500*time.Millisecond, func() {
				a := sender.Send(t.Context(), request(t, "https://bank.test/hook"))
				if a.Outcome != tt.outcome || !strings.Contains(a.Error, tt.rule) || strings.Contains(a.Error, "127.0.0.1") {
					t.Errorf("%+v", a)
				}
			})
		})
	}
}

// CWE-350: public when the subscription was made, loopback when the event is sent; nothing is connected to.
func TestRebinding(t *testing.T) {
	t.Parallel()
	var conns atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			c.Close()
		}
	}()
	var asked atomic.Int64
	resolver := dnsServer(t, func(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody) {
		if q.Type != dnsmessage.TypeA {
			return dnsmessage.RCodeSuccess, nil
		}
		asked.Add(1)
		return dnsmessage.RCodeSuccess, []dnsmessage.ResourceBody{a("127.0.0.1")}
	})
	guard := &egress.Guard{}
	url := "https://rebind.test:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port) + "/"
	if _, err := guard.CheckURL(url); err != nil {
		t.Fatalf("at create: %v", err)
	}
	sender := newSender(t, httpsend.Config{Guard: guard, Resolver: resolver})
	for range 3 {
		if a := sender.Send(t.Context(), request(t, url)); a.Outcome != delivery.OutcomeBlocked || !strings.Contains(a.Error, "loopback") {
			t.Errorf("%+v", a)
		}
	}
	if asked.Load() == 0 || conns.Load() != 0 {
		t.Errorf("asked %d times, %d connections", asked.Load(), conns.Load())
	}
}

func TestProxyEnvironmentIsIgnored(t *testing.T) {
	var conns atomic.Int64
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	go func() {
		for {
			c, err := proxy.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			c.Close()
		}
	}()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"} {
		t.Setenv(name, "http://"+proxy.Addr().String())
	}
	url, _ := rawServer(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	if a := newSender(t, httpsend.Config{}).Send(t.Context(), request(t, url)); a.Outcome != delivery.OutcomeDelivered || conns.Load() != 0 {
		t.Errorf("%+v, %d connections to the proxy", a, conns.Load())
	}
}
