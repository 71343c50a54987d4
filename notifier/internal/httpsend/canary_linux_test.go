package httpsend_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/egress"
	"hirewire.dev/notifier/internal/httpsend"
	"hirewire.dev/platform/sqldb/sqldbtest"
)

// insideNamespace is set in the process that runs in a network namespace of its own.
const insideNamespace = "HIREWIRE_TEST_NETNS"

// canaries are addresses in refused ranges. In the namespace they are real, and somebody listens there.
var canaries = []string{
	"127.0.0.2", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.1", "100.64.0.1", "169.254.169.254", "169.254.1.1",
	"192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "168.63.129.16", "100.100.100.200", "240.0.0.1",
	"::1", "fd00:ec2::254", "fd12:3456::1", "fec0::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::1", "2001:0:7f00:1::1",
	"100::1", "5f00::1", "2001:db8::1", "3fff::1", "::7f00:1",
}

// CWE-918, CWE-350, CWE-601: in a network namespace without a way out, with canaries at refused addresses, no packet reaches
// one of them: whatever the form of the URL, whatever the name resolves to and when, wherever a redirect points.
func TestNoPacketReachesACanary(t *testing.T) {
	if os.Getenv(insideNamespace) == "" {
		runInNamespace(t)
		return
	}
	sniffer := sniff(t)
	for _, address := range canaries {
		if err := ip("addr", "add", address+map[bool]string{true: "/128", false: "/32"}[strings.Contains(address, ":")], "dev", "lo"); err != nil && address != "::1" {
			t.Logf("no canary at %s: %v", address, err)
		}
	}
	var accepted atomic.Int64
	for _, network := range []string{"tcp4", "tcp6"} {
		l, err := net.Listen(network, ":8443")
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
				// The names of this machine lead home, which is allowed here.
				if !strings.HasPrefix(c.LocalAddr().String(), "127.0.0.1:") && !strings.Contains(c.LocalAddr().String(), "ffff:127.0.0.1]") {
					accepted.Add(1)
				}
				c.Close()
			}
		}()
	}
	home := netip.MustParsePrefix("127.0.0.1/32") // where the tests' own servers are
	guard := &egress.Guard{AllowHTTP: true, Allow: []netip.Prefix{home}}

	t.Run("control: a canary is reached when it is allowed", func(t *testing.T) {
		open := &egress.Guard{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("fec0::1/128")}}
		for _, url := range []string{"http://10.0.0.1:8443/", "http://[fec0::1]:8443/"} {
			if a := newSender(t, httpsend.Config{Guard: open}).Send(t.Context(), request(t, url)); a.Outcome != delivery.OutcomeConnection {
				t.Errorf("%s: %+v", url, a)
			}
		}
		if seen := sniffer.take(); len(seen) != 2 || accepted.Load() != 2 {
			t.Fatalf("the sniffer saw %v, and the canaries %d connections: this test proves nothing", seen, accepted.Load())
		}
	})
	check := func(t *testing.T, what string, a delivery.Attempt) {
		t.Helper()
		if a.Outcome == delivery.OutcomeDelivered || a.StatusCode != 0 {
			t.Errorf("%s: %+v", what, a)
		}
		if seen := sniffer.take(); len(seen) != 0 {
			t.Errorf("%s: packets to %v", what, seen)
		}
	}
	t.Run("addresses in the URL", func(t *testing.T) {
		sender := newSender(t, httpsend.Config{Guard: guard})
		hosts := []string{
			"127.1", "2130706434", "0x7f000002", "0177.0.0.2", "0", "0.0.0.0", "①②⑦.⓪.⓪.②", "127.0.0.2.", "localhost", "a.localhost", "ip6-localhost",
			"[::]", "[::ffff:10.0.0.1]", "[::ffff:7f00:2]", "[::127.0.0.1]", "[fe80::1%25lo]", "[::1%25lo]", "[ff02::1]", "224.0.0.1", "255.255.255.255", "2852039166",
		}
		for _, c := range canaries {
			if strings.Contains(c, ":") {
				c = "[" + c + "]"
			}
			hosts = append(hosts, c)
		}
		for _, host := range hosts {
			for _, scheme := range []string{"http", "https"} {
				check(t, host, sender.Send(t.Context(), request(t, scheme+"://"+host+":8443/")))
			}
		}
		for _, url := range []string{"http://good.test@10.0.0.1:8443/", `http://10.0.0.1:8443\@good.test/`, "http://10.0.0.1:8443%2f@good.test/", "http://good.test:8443@10.0.0.1:8443/"} {
			check(t, url, sender.Send(t.Context(), request(t, url)))
		}
	})
	t.Run("names that resolve to canaries", func(t *testing.T) {
		for _, c := range append([]string{"::ffff:10.0.0.1", "::ffff:169.254.169.254", "0.0.0.0", "::"}, canaries...) {
			sender := newSender(t, httpsend.Config{Guard: guard, Resolver: resolving(t, c)})
			check(t, "a name for "+c, sender.Send(t.Context(), request(t, "http://bank.test:8443/")))
		}
	})
	t.Run("rebinding", func(t *testing.T) {
		var asked atomic.Int64
		resolver := dnsServer(t, func(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody) {
			switch {
			case q.Type != dnsmessage.TypeA:
				return dnsmessage.RCodeSuccess, nil
			case asked.Add(1) == 1:
				return dnsmessage.RCodeSuccess, []dnsmessage.ResourceBody{a("127.0.0.1")} // allowed, and nobody listens
			default:
				return dnsmessage.RCodeSuccess, []dnsmessage.ResourceBody{a("10.0.0.1"), a("169.254.169.254")}
			}
		})
		sender := newSender(t, httpsend.Config{Guard: guard, Resolver: resolver})
		sender.Send(t.Context(), request(t, "http://rebind.test:9/"+strings.Repeat("x", 1)))
		sniffer.take()
		for range 3 {
			check(t, "the second answer", sender.Send(t.Context(), request(t, "http://rebind.test:8443/")))
		}
	})
	t.Run("redirects", func(t *testing.T) {
		for _, code := range []int{301, 302, 303, 307, 308} {
			for _, to := range []string{"http://10.0.0.1:8443/", "http://169.254.169.254:8443/latest/meta-data/", "http://[::1]:8443/", "//127.0.0.2:8443/"} {
				url, _ := rawServer(t, answering(fmt.Sprintf("HTTP/1.1 %d %s\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", code, http.StatusText(code), to)))
				a := newSender(t, httpsend.Config{Guard: guard}).Send(t.Context(), request(t, url))
				if a.StatusCode != code || a.Outcome != delivery.OutcomeRejected {
					t.Errorf("%d to %s: %+v", code, to, a)
				}
				if seen := sniffer.take(); len(seen) != 0 {
					t.Errorf("%d to %s: packets to %v", code, to, seen)
				}
			}
		}
	})
	if accepted.Load() != 2 {
		t.Errorf("the canaries accepted %d connections", accepted.Load())
	}
}

// runInNamespace runs the test again, in a process with a network of its own.
func runInNamespace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil || os.Geteuid() != 0 {
		sqldbtest.LeaveOut(t, "the canaries: they take root and ip(8)")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestNoPacketReachesACanary$", "-test.v")
	cmd.Env = append(os.Environ(), insideNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		sqldbtest.LeaveOut(t, "the canaries: this root may not make network namespaces")
	}
	if err != nil {
		t.Errorf("in the namespace: %v\n%s", err, out)
	}
}

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// resolving answers every name with one address.
func resolving(t *testing.T, address string) *net.Resolver {
	t.Helper()
	addr := netip.MustParseAddr(address)
	return dnsServer(t, func(q dnsmessage.Question) (dnsmessage.RCode, []dnsmessage.ResourceBody) {
		switch {
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			return dnsmessage.RCodeSuccess, []dnsmessage.ResourceBody{a(address)}
		case !addr.Is4() && q.Type == dnsmessage.TypeAAAA:
			return dnsmessage.RCodeSuccess, []dnsmessage.ResourceBody{aaaa(address)}
		}
		return dnsmessage.RCodeSuccess, nil
	})
}

// sniffer sees every packet of the namespace that begins a TCP connection to anywhere but home.
type sniffer struct {
	mu   sync.Mutex
	seen []string
}

// take gives what was seen since the last time, once every packet that is on its way has come by.
func (s *sniffer) take() []string {
	time.Sleep(3 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

func sniff(t *testing.T) *sniffer {
	t.Helper()
	if err := ip("link", "set", "lo", "up"); err != nil {
		t.Fatal(err)
	}
	const everything = 0x0003 // ETH_P_ALL
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, int(everything<<8))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 50_000}); err != nil {
		t.Fatal(err)
	}
	s := &sniffer{}
	var stop atomic.Bool
	ended := make(chan struct{})
	t.Cleanup(func() { stop.Store(true); <-ended; _ = syscall.Close(fd) })
	go func() {
		defer close(ended)
		buf := make([]byte, 65536)
		for !stop.Load() {
			n, from, err := syscall.Recvfrom(fd, buf, 0)
			if err != nil {
				continue
			}
			// The kernel shows each packet of lo twice: going out and coming in.
			if ll, ok := from.(*syscall.SockaddrLinklayer); ok && ll.Pkttype == syscall.PACKET_OUTGOING {
				continue
			}
			if to, ok := connects(buf[:n]); ok && to != netip.MustParseAddr("127.0.0.1") {
				s.mu.Lock()
				s.seen = append(s.seen, to.String())
				s.mu.Unlock()
			}
		}
	}()
	return s
}

// connects says where a frame goes that begins a TCP connection.
func connects(frame []byte) (to netip.Addr, ok bool) {
	if len(frame) < 14 {
		return to, false
	}
	packet := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		if len(packet) < 20 || packet[9] != syscall.IPPROTO_TCP {
			return to, false
		}
		to, packet = netip.AddrFrom4([4]byte(packet[16:20])), packet[int(packet[0]&15)*4:]
	case 0x86dd:
		if len(packet) < 40 || packet[6] != syscall.IPPROTO_TCP {
			return to, false
		}
		to, packet = netip.AddrFrom16([16]byte(packet[24:40])), packet[40:]
	default:
		return to, false
	}
	const syn, ack = 2, 16
	return to, len(packet) >= 14 && packet[13]&(syn|ack) == syn
}
