//go:build linux

package egress_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// answer is what the name server says about a name. The zero value is that there is no such name.
type answer struct {
	addrs []netip.Addr
	alias string
	fail  bool          // SERVFAIL
	after time.Duration // late
}

// nameServer answers on port 53 of loopback, with a time to live of 0, as the test says at the moment.
type nameServer struct {
	mu    sync.Mutex
	names map[string]func(query int) answer
	asked map[string]int
}

// says makes a name answer so from now on.
func (s *nameServer) says(name string, a func(query int) answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name+"."] = a
}

func (s *nameServer) lookup(name string) (a answer, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = strings.ToLower(name)
	f := s.names[name]
	if f == nil {
		return answer{}, false
	}
	s.asked[name]++
	return f(s.asked[name]), true
}

func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	s := &nameServer{names: map[string]func(int) answer{}, asked: map[string]int{}}
	packets, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	streams, err := net.Listen("tcp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	t.Cleanup(func() { packets.Close(); streams.Close(); wait.Wait() })
	wait.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			query := append([]byte(nil), buf[:n]...)
			wait.Go(func() {
				if reply := s.reply(query, 1232); reply != nil {
					_, _ = packets.WriteTo(reply, from)
				}
			})
		}
	})
	wait.Go(func() {
		for {
			conn, err := streams.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { defer conn.Close(); _ = s.serveStream(conn) })
		}
	})
	return s
}

func (s *nameServer) serveStream(conn net.Conn) error {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return err
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return err
		}
		reply := s.reply(query, 1<<16-1)
		if reply == nil {
			return errors.New("malformed query")
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return err
		}
	}
}

// reply answers one query in at most so many bytes, or says that it is truncated.
func (s *nameServer) reply(query []byte, most int) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	a, known := s.lookup(q.Name.String())
	time.Sleep(a.after)
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: head.ID, Response: true, Authoritative: true, RecursionAvailable: true, RecursionDesired: head.RecursionDesired},
		Questions: []dnsmessage.Question{q},
	}
	switch {
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	case a.fail:
		m.RCode = dnsmessage.RCodeServerFailure
	default:
		m.Answers = s.records(q.Name, q.Type, a, 0)
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	if len(packed) > most {
		m.Answers, m.Truncated = nil, true
		if packed, err = m.Pack(); err != nil {
			return nil
		}
	}
	return packed
}

// records answers as a recursive server does: an alias, and what it leads to.
func (s *nameServer) records(name dnsmessage.Name, kind dnsmessage.Type, a answer, depth int) []dnsmessage.Resource {
	head := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}
	if a.alias != "" {
		target := dnsmessage.MustNewName(a.alias + ".")
		found := []dnsmessage.Resource{{Header: head, Body: &dnsmessage.CNAMEResource{CNAME: target}}}
		if next, known := s.lookup(target.String()); known && depth < 8 {
			found = append(found, s.records(target, kind, next, depth+1)...)
		}
		return found
	}
	var found []dnsmessage.Resource
	for _, addr := range a.addrs {
		switch {
		case kind == dnsmessage.TypeA && addr.Is4():
			found = append(found, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: addr.As4()}})
		case kind == dnsmessage.TypeAAAA && addr.Is6():
			found = append(found, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	return found
}
