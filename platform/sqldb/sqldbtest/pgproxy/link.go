package pgproxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
)

const (
	sslRequest    = 80877103
	gssRequest    = 80877104
	cancelRequest = 80877102
	maxMessage    = 1 << 30
)

// link is one client's connection through the proxy.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	gone           chan struct{}
	once           sync.Once

	// What the client has prepared; used by its direction's goroutine only.
	statements map[string]string // statement name → SQL
	portals    map[string]string // portal name → SQL

	mu   sync.Mutex
	last string // the statement that the client last asked for
}

func (l *link) lastStatement() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *link) asked(statement string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = statement
	return statement
}

func (l *link) cut() {
	l.once.Do(func() {
		close(l.gone)
		_ = l.client.Close()
		_ = l.server.Close()
	})
}

func (l *link) run() {
	defer l.cut()
	l.statements, l.portals = map[string]string{}, map[string]string{}
	from := bufio.NewReader(l.client)
	if err := l.startup(from); err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer l.cut()
		_ = l.pump(bufio.NewReader(l.server), l.client, l.readServer)
	})
	_ = l.pump(from, l.server, l.readClient)
	l.cut()
	wg.Wait()
}

// startup forwards the first packet, which has no type, and answers requests
// for encryption with no.
func (l *link) startup(from *bufio.Reader) error {
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(from, head); err != nil {
			return err
		}
		size, code := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
		if size < 8 || size > 10000 {
			return errors.New("malformed startup packet")
		}
		body := make([]byte, size-8)
		if _, err := io.ReadFull(from, body); err != nil {
			return err
		}
		l.proxy.waitThaw(l)
		if code == sslRequest || code == gssRequest {
			if _, err := l.client.Write([]byte{'N'}); err != nil {
				return err
			}
			continue
		}
		_, err := l.server.Write(append(head, body...))
		if code == cancelRequest && err == nil {
			_, err = io.Copy(l.client, l.server) // until the server hangs up
			return errors.Join(err, io.EOF)
		}
		return err
	}
}

// pump forwards typed messages until the connection ends.
func (l *link) pump(from *bufio.Reader, to io.Writer, read func(typ byte, body []byte) (Kind, string)) error {
	dropping := false
	head := make([]byte, 5)
	for {
		if _, err := io.ReadFull(from, head); err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(head[1:])
		if size < 4 || size > maxMessage {
			return errors.New("malformed message")
		}
		msg := make([]byte, 1+size)
		copy(msg, head)
		if _, err := io.ReadFull(from, msg[5:]); err != nil {
			return err
		}
		kind, text := read(head[0], msg[5:])
		if t := l.proxy.decide(l, kind, text); t != nil {
			if t.rule.Hit != nil {
				t.rule.Hit()
			}
			switch t.rule.Action {
			case Pass:
			case Hold:
				select {
				case <-t.release:
				case <-l.gone:
					return nil
				case <-l.proxy.done:
					return nil
				}
			case Drop:
				dropping = true
			case Cut:
				return nil
			}
		}
		if dropping {
			continue
		}
		if _, err := to.Write(msg); err != nil {
			return err
		}
	}
}

func (l *link) readServer(typ byte, body []byte) (Kind, string) {
	if typ != 'C' {
		return 0, ""
	}
	tag, _ := cstring(body)
	return Complete, tag
}

func (l *link) readClient(typ byte, body []byte) (Kind, string) {
	switch typ {
	case 'Q':
		query, _ := cstring(body)
		return Statement, l.asked(strings.TrimSpace(query))
	case 'P':
		name, rest := cstring(body)
		query, _ := cstring(rest)
		query = strings.TrimSpace(query)
		l.statements[name] = query
		return Parse, query
	case 'B':
		portal, rest := cstring(body)
		name, _ := cstring(rest)
		l.portals[portal] = l.statements[name]
	case 'E':
		portal, _ := cstring(body)
		return Statement, l.asked(l.portals[portal])
	}
	return 0, ""
}

func cstring(b []byte) (s string, rest []byte) {
	before, after, _ := bytes.Cut(b, []byte{0})
	return string(before), after
}
