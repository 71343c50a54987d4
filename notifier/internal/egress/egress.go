// Package egress decides where the notifier may send. A subscription's URL is written by a stranger, so every address is
// refused unless it is an ordinary public one: once when the URL is given (CheckURL) and once more for the address that is
// really dialled, after DNS (Control), which a name that changes its mind between the two cannot pass.
//
// Exceptions are made by CIDR and by nothing else.
//
// The library code.dny.dev/ssrf does the second half, and its list of ranges is as long as this one: a fuzz test holds the
// two against each other, and what it refuses is refused here. It is not used for the job itself because it looks at
// addresses only (the forms of a host that a URL can hide one in are half of the work), allows ports by list and not by
// range, and tests a mapped IPv4 address as IPv6, so that an exception for an IPv4 range does not hold for it; and because
// its errors give no rule to show to the owner of the URL.
package egress

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
)

// Guard says where may be sent. The zero value allows public addresses over HTTPS. It is read-only once in use.
type Guard struct {
	// Allow are exceptions from the refused ranges, such as 127.0.0.0/8 for a demo. See CheckAllow.
	Allow []netip.Prefix
	// AllowHTTP admits plain http:// URLs, and port 80 for them.
	AllowHTTP bool
	// Ports admits ports besides 443, 8443 and everything from 1024 up.
	Ports []uint16
	// Own are the addresses that this process listens on. They are refused whatever Allow says.
	Own []netip.AddrPort
	// OwnNames are the host names of this process, lower case. They are refused.
	OwnNames []string
}

// A BlockedError is a refusal. Its text is safe to show to the owner of the URL: it repeats a host or an address, never a
// path, a query or credentials.
type BlockedError struct {
	Rule    string // such as "loopback"
	Range   string // the prefix or the names that the rule stands for; may be empty
	Subject string // the host, address or port that hit it
}

// Error names the rule and what hit it.
func (e *BlockedError) Error() string {
	if e.Range == "" {
		return fmt.Sprintf("refused by the rule %q: %s", e.Rule, e.Subject)
	}
	return fmt.Sprintf("refused by the rule %q (%s): %s", e.Rule, e.Range, e.Subject)
}

// CheckAddr says whether an address may be dialled. The error is a *BlockedError.
func (g *Guard) CheckAddr(addr netip.Addr) error {
	if addr.Zone() != "" {
		return &BlockedError{Rule: "zone-id", Subject: addr.WithZone("").String()}
	}
	addr = addr.Unmap()
	if g.allows(addr) {
		return nil
	}
	for _, r := range refused {
		if r.prefix.Contains(addr) {
			return &BlockedError{Rule: r.rule, Range: r.prefix.String(), Subject: addr.String()}
		}
	}
	if !addr.IsValid() || addr.Is6() && !globalUnicast.Contains(addr) {
		return &BlockedError{Rule: "not-global-unicast", Range: "all but " + globalUnicast.String(), Subject: addr.String()}
	}
	return nil
}

// CheckAddrPort is CheckAddr, and looks at the port and at this process's own addresses too.
func (g *Guard) CheckAddrPort(ap netip.AddrPort) error {
	if err := g.checkPort(ap.Port(), g.AllowHTTP); err != nil {
		return err
	}
	if err := g.CheckAddr(ap.Addr()); err != nil {
		return err
	}
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	for _, own := range g.Own {
		if own.Port() == ap.Port() && same(own.Addr().Unmap(), ap.Addr()) {
			return &BlockedError{Rule: "own-address", Range: own.String(), Subject: ap.String()}
		}
	}
	return nil
}

// same says whether two addresses are of one place: all of 127.0.0.0/8 is this machine, whichever of it a listener has.
func same(a, b netip.Addr) bool {
	return a == b || a.Is4() && b.Is4() && a.IsLoopback() && b.IsLoopback()
}

// Control is for net.Dialer.ControlContext: it sees the address that is about to be dialled.
func (g *Guard) Control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return &BlockedError{Rule: "network", Range: "all but TCP", Subject: strconv.Quote(network)}
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &BlockedError{Rule: "address", Subject: strconv.Quote(address)}
	}
	return g.CheckAddrPort(ap)
}

func (g *Guard) allows(addr netip.Addr) bool {
	for _, p := range g.Allow {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func (g *Guard) checkPort(port uint16, http bool) error {
	if port >= 1024 || port == 443 || http && port == 80 {
		return nil
	}
	if slices.Contains(g.Ports, port) {
		return nil
	}
	return &BlockedError{Rule: "port", Range: "0-1023 but 443", Subject: strconv.Itoa(int(port))}
}
