package egress

import (
	"fmt"
	"net"
	"net/netip"
)

// CheckAllow says whether a prefix may be an exception. There is no way to allow everything: one shorter than /8 for IPv4 or /7
// for IPv6 is an error.
func CheckAllow(p netip.Prefix) error {
	switch {
	case p.Addr().Is4In6():
		return fmt.Errorf("%s: write it as an IPv4 prefix", p)
	case p.Masked() != p:
		return fmt.Errorf("%s has bits after its prefix; %s?", p, p.Masked())
	case p.Addr().Is4() && p.Bits() < 8, p.Addr().Is6() && p.Bits() < 7:
		return fmt.Errorf("%s is too wide", p)
	}
	return nil
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
