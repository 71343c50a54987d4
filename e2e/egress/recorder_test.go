//go:build linux

package egress_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"
)

// recorder sees every IP packet in the namespace, whose only interface is loopback, and to which every address leads.
type recorder struct {
	mu       sync.Mutex
	expected func(from, to netip.AddrPort) bool
	strange  map[string]int // packets by where they went
}

// startRecorder notes packets to where expected does not say that they may go.
func startRecorder(t *testing.T, expected func(from, to netip.AddrPort) bool) *recorder {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	const everything = syscall.ETH_P_ALL<<8&0xff00 | syscall.ETH_P_ALL>>8 // in network order
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, everything)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: everything, Ifindex: lo.Index}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 100_000}); err != nil {
		t.Fatal(err)
	}
	r := &recorder{expected: expected, strange: map[string]int{}}
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		defer syscall.Close(fd)
		buf := make([]byte, 1<<16)
		for {
			select {
			case <-done:
				return
			default:
			}
			n, _, err := syscall.Recvfrom(fd, buf, 0)
			if err == nil {
				r.note(buf[:n])
			}
		}
	})
	t.Cleanup(func() { close(done); wait.Wait() })
	return r
}

// note looks at one packet of UDP, or of TCP if it opens a connection.
func (r *recorder) note(p []byte) {
	const tcp, udp, syn, ack = 6, 17, 0x02, 0x10
	var from, to netip.Addr
	var protocol byte
	var rest []byte
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		from, to, protocol = netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20])), p[9]
		rest = p[min(int(p[0]&15)*4, len(p)):]
	case len(p) >= 40 && p[0]>>4 == 6:
		from, to, protocol = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40])), p[6]
		rest = p[40:]
	}
	if protocol != udp && (protocol != tcp || len(rest) < 14 || rest[13]&(syn|ack) != syn) || len(rest) < 4 {
		return
	}
	source := netip.AddrPortFrom(from, binary.BigEndian.Uint16(rest))
	target := netip.AddrPortFrom(to, binary.BigEndian.Uint16(rest[2:]))
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.expected(source, target) {
		r.strange[fmt.Sprintf("from %s to %s", from, target)]++
	}
}

// take gives what was noted, and forgets it.
func (r *recorder) take() map[string]int {
	time.Sleep(50 * time.Millisecond) // what was sent by now has been read
	r.mu.Lock()
	defer r.mu.Unlock()
	strange := r.strange
	r.strange = map[string]int{}
	return strange
}
