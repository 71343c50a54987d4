package egress

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// names maps a host the way every client does before it resolves it (UTS #46), and refuses what is no host name then.
var names = idna.New(idna.MapForLookup(), idna.StrictDomainName(true), idna.BidiRule(), idna.VerifyDNSLength(true), idna.Transitional(false))

// checkHost gives the host in its one form: an ASCII name, or an address. host is as in the URL, with its brackets.
func (g *Guard) checkHost(host, bare string) (string, netip.Addr, error) {
	none := netip.Addr{}
	if strings.HasPrefix(host, "[") {
		addr, err := netip.ParseAddr(bare)
		if err != nil || !addr.Is6() {
			return "", none, &BlockedError{Rule: "host", Subject: "what is in brackets is not an IPv6 address"}
		}
		addr = addr.Unmap()
		return addr.String(), addr, nil
	}
	if strings.HasSuffix(bare, ".") {
		return "", none, &BlockedError{Rule: "trailing-dot", Subject: subject(bare)}
	}
	name, err := names.ToASCII(bare)
	if err != nil || name == "" {
		return "", none, &BlockedError{Rule: "host-name", Subject: subject(bare)}
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.String(), addr, nil
	}
	if endsInNumber(name) {
		return "", none, &BlockedError{Rule: "numeric-host", Range: "any IPv4 form but four decimal numbers", Subject: subject(bare)}
	}
	return name, none, g.checkName(name)
}

// endsInNumber is the test of the WHATWG URL standard for "this will be read as an IPv4 address by someone".
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if digits, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// metadataNames answer with a machine's credentials inside a cloud.
var metadataNames = []string{"metadata", "metadata.google.internal", "metadata.goog", "metadata.azure.internal", "metadata.azure.com", "instance-data", "instance-data.ec2.internal", "metadata.tencentyun.com", "metadata.packet.net"}

// loopbackNames resolve to this machine (RFC 6761), also below themselves.
var loopbackNames = []string{"localhost", "localhost.localdomain", "localdomain", "localhost6", "localhost6.localdomain6", "ip6-localhost", "ip6-loopback", "loopback"}

// localSuffixes end names that mean something on some local network only (RFC 6762, RFC 8375, RFC 9476, ICANN's .internal).
var localSuffixes = []string{"local", "internal", "intranet", "private", "corp", "home", "lan", "arpa", "svc", "onion", "alt", "invalid"}

func (g *Guard) checkName(name string) error {
	for _, n := range metadataNames {
		if name == n {
			return &BlockedError{Rule: "metadata-name", Range: n, Subject: name}
		}
	}
	for _, n := range g.OwnNames {
		if name == n {
			return &BlockedError{Rule: "own-name", Range: n, Subject: name}
		}
	}
	for _, n := range loopbackNames {
		if isOrBelow(name, n) {
			if g.allows(netip.AddrFrom4([4]byte{127, 0, 0, 1})) || g.allows(netip.IPv6Loopback()) {
				return nil
			}
			return &BlockedError{Rule: "loopback-name", Range: n, Subject: name}
		}
	}
	// A local name is of use only with an exception for a local network; what it resolves to is checked at the dial.
	if g.allowsLocal() {
		return nil
	}
	if !strings.Contains(name, ".") {
		return &BlockedError{Rule: "single-label-name", Subject: name}
	}
	for _, s := range localSuffixes {
		if isOrBelow(name, s) {
			return &BlockedError{Rule: "local-name", Range: "." + s, Subject: name}
		}
	}
	return nil
}

func isOrBelow(name, parent string) bool {
	rest, ok := strings.CutSuffix(name, parent)
	return ok && (rest == "" || strings.HasSuffix(rest, "."))
}

// localNetworks are where local names live.
var localNetworks = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fc00::/7"),
}

func (g *Guard) allowsLocal() bool {
	for _, p := range g.Allow {
		for _, l := range localNetworks {
			if l.Overlaps(p) {
				return true
			}
		}
	}
	return false
}

// subject is a host as it may be shown: cut, and with everything unprintable escaped.
func subject(host string) string {
	if len(host) > 100 {
		host = host[:100]
	}
	return strconv.QuoteToASCII(host)
}
