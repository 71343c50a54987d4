package egress_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"code.dny.dev/ssrf"

	"hirewire.dev/notifier/internal/egress"
)

// FuzzCheckAddr holds the list against a public library's: what that refuses, this refuses.
func FuzzCheckAddr(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "8.8.8.8", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2606:4700::1", "fe80::1%eth0"} {
		f.Add(netip.MustParseAddr(s).AsSlice())
	}
	var guard egress.Guard
	library := ssrf.New(ssrf.WithAnyPort())
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		theirs, ours := library.SafeAddr(addr), guard.CheckAddr(addr)
		if addr.Is4In6() {
			theirs = library.SafeAddr(addr.Unmap()) // the library refuses all of these
		}
		if theirs != nil && ours == nil {
			t.Fatalf("%s passed; the library says %v", addr, theirs)
		}
		if ours != nil && guard.CheckAddrPort(netip.AddrPortFrom(addr, 443)) == nil {
			t.Fatalf("%s passed with a port", addr)
		}
	})
}

// Each range of the library, at both ends.
func TestCoversTheLibrarysRanges(t *testing.T) {
	t.Parallel()
	var guard egress.Guard
	for _, p := range append(append([]netip.Prefix{}, ssrf.IPv4DeniedPrefixes...), ssrf.IPv6DeniedPrefixes...) {
		last := p.Masked().Addr().AsSlice()
		for bit := p.Bits(); bit < len(last)*8; bit++ {
			last[bit/8] |= 1 << (7 - bit%8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, addr := range []netip.Addr{p.Masked().Addr(), end} {
			if guard.CheckAddr(addr) == nil {
				t.Errorf("%s of %s passed", addr, p)
			}
		}
	}
}

func TestControlRefusesAtTheDial(t *testing.T) {
	t.Parallel()
	var guard egress.Guard
	for address, rule := range map[string]string{
		"127.0.0.1:443":              "loopback",
		"[::1]:443":                  "loopback",
		"[::ffff:10.0.0.1]:443":      "private-use",
		"[fe80::1%eth0]:443":         "zone-id",
		"[2606:4700::1111%eth0]:443": "zone-id",
		"1.1.1.1:22":                 "port",
		"nonsense":                   "address",
	} {
		err := guard.Control(t.Context(), "tcp4", address, nil)
		if blocked, ok := errors.AsType[*egress.BlockedError](err); !ok || blocked.Rule != rule {
			t.Errorf("%s: got %v, want a refusal by %q", address, err, rule)
		}
	}
	if err := guard.Control(t.Context(), "udp4", "1.1.1.1:443", nil); err == nil {
		t.Error("UDP passed")
	}
	if err := guard.Control(t.Context(), "tcp4", "1.1.1.1:443", nil); err != nil {
		t.Errorf("a public address: %v", err)
	}
}

// CWE-350, CWE-367: the name was harmless when it was checked and leads inside when it is dialled.
func TestDialerNeverConnectsToARefusedAddress(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var guard egress.Guard
	dialer := net.Dialer{ControlContext: guard.Control}
	conn, err := dialer.DialContext(t.Context(), "tcp", listener.Addr().String())
	if conn != nil {
		conn.Close()
	}
	if blocked, ok := errors.AsType[*egress.BlockedError](err); !ok || blocked.Range != "127.0.0.0/8" {
		t.Errorf("got %v, want a refusal that names 127.0.0.0/8", err)
	}
	guard.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	conn, err = dialer.DialContext(context.WithoutCancel(t.Context()), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatalf("with the exception: %v", err)
	}
	conn.Close()
}

func TestOwnAddressIsRefusedWhateverIsAllowed(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	own, err := egress.OwnAddrs(listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	guard := egress.Guard{Own: own, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	port := uint16(listener.Addr().(*net.TCPAddr).Port)
	for _, addr := range []string{"127.0.0.1", "127.0.0.2", "127.255.255.254", "::ffff:127.0.0.3"} {
		err = guard.CheckAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), port))
		if blocked, ok := errors.AsType[*egress.BlockedError](err); !ok || blocked.Rule != "own-address" {
			t.Errorf("%s: got %v", addr, err)
		}
	}
	if err := guard.CheckAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port^1)); err != nil {
		t.Errorf("another port: %v", err)
	}
}

func TestCheckAllow(t *testing.T) {
	t.Parallel()
	for prefix, ok := range map[string]bool{
		"127.0.0.0/8": true, "10.1.2.3/32": true, "fd00::/8": true, "fc00::/7": true,
		"0.0.0.0/0": false, "::/0": false, "10.0.0.1/8": false, "2000::/3": false, "0.0.0.0/1": false, "::ffff:10.0.0.0/104": false,
	} {
		if err := egress.CheckAllow(netip.MustParsePrefix(prefix)); (err == nil) != ok {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}

func BenchmarkCheckAddr(b *testing.B) {
	var guard egress.Guard
	addr := netip.MustParseAddr("1.1.1.1")
	b.ReportAllocs()
	for b.Loop() {
		if err := guard.CheckAddr(addr); err != nil {
			b.Fatal(err)
		}
	}
}
