package egress

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// ParseAllow reads "127.0.0.0/8, ::1/128". There is no way to allow everything: a prefix shorter than /8 for IPv4 or /7 for
// IPv6 is an error.
func ParseAllow(list string) ([]netip.Prefix, error) {
	var allow []netip.Prefix
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		p, err := netip.ParsePrefix(entry)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%q is not a CIDR such as 10.1.0.0/16", entry)
		case p.Addr().Is4In6():
			return nil, fmt.Errorf("%s: write it as an IPv4 prefix", entry)
		case p.Masked() != p:
			return nil, fmt.Errorf("%s has bits after its prefix; %s?", entry, p.Masked())
		case p.Addr().Is4() && p.Bits() < 8, p.Addr().Is6() && p.Bits() < 7:
			return nil, fmt.Errorf("%s is too wide", entry)
		}
		allow = append(allow, p)
	}
	return allow, nil
}

// OwnAddrs is what Guard.Own needs for a listener: its address, or with an unspecified one (":8002") that port on every
// address of the machine.
func OwnAddrs(listener net.Addr) ([]netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(listener.String())
	if err != nil {
		return nil, fmt.Errorf("own address: %w", err)
	}
	if !ap.Addr().IsUnspecified() {
		return []netip.AddrPort{ap}, nil
	}
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("own addresses: %w", err)
	}
	var own []netip.AddrPort
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil {
			own = append(own, netip.AddrPortFrom(p.Addr().Unmap(), ap.Port()))
		}
	}
	return own, nil
}
