// Package pgproxy is a TCP proxy between a program and PostgreSQL that reads
// the wire protocol (version 3, without TLS) as it passes: it counts
// statements and their completions, and at the n-th match holds, drops or cuts.
// With it a test loses exactly the reply that it wants to lose.
package pgproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Kind is which messages a Rule looks at.
type Kind int

// The kinds.
const (
	// Statement is a statement that the client asks the server to run: a
	// simple Query, or the Execute of a parsed statement.
	Statement Kind = iota + 1
	// Parse is the client's Parse of a statement.
	Parse
	// Complete is the server's CommandComplete, whose text is a tag such as
	// "COMMIT" or "INSERT 0 1".
	Complete
	// Done is the same message, but its text is that of the statement that the
	// client last asked for on the connection.
	Done
)

// Action is what happens to the message that matches, and to its connection.
type Action int

// The actions.
const (
	// Pass forwards the message: the rule only counts and calls Hit.
	Pass Action = iota
	// Hold keeps the message, and what follows in its direction, until
	// Trigger.Release or the end of the proxy.
	Hold
	// Drop swallows the message and all that follows in its direction, and
	// leaves the connection open: the peer hangs.
	Drop
	// Cut closes the connection on both sides without forwarding the message.
	Cut
)

// Rule says what to look for and what to do then.
type Rule struct {
	Kind Kind
	// Text is what the statement or the tag starts with, upper or lower case;
	// "" matches all.
	Text string
	// N is which match triggers, from 1; 0 is every one.
	N int
	// Action is what then happens.
	Action Action
	// Hit, if set, is called before the action, in the connection's own
	// goroutine: a place to kill a process.
	Hit func()
}

// Trigger is a rule at work.
type Trigger struct {
	rule    Rule
	mu      sync.Mutex
	count   int
	hits    int
	hit     chan struct{} // closed at the first hit
	release chan struct{}
	once    sync.Once
}

// Count is how many messages have matched, whatever N is.
func (t *Trigger) Count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

// Wait waits for the first hit.
func (t *Trigger) Wait(ctx context.Context) error {
	select {
	case <-t.hit:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Release lets the held message, and every later one, pass.
func (t *Trigger) Release() { t.once.Do(func() { close(t.release) }) }

func (t *Trigger) match(kind Kind, text string) bool {
	if kind != t.rule.Kind || len(text) < len(t.rule.Text) || !strings.EqualFold(text[:len(t.rule.Text)], t.rule.Text) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	if t.rule.N != 0 && t.count != t.rule.N {
		return false
	}
	t.hits++
	if t.hits == 1 {
		close(t.hit)
	}
	return true
}

// Proxy is a running proxy. Close it.
type Proxy struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup
	done     chan struct{}

	mu       sync.Mutex
	triggers []*Trigger
	links    map[*link]struct{}
	frozen   chan struct{} // closed when thawed; nil when not frozen
	closed   bool
}

// Start starts a proxy on a free port of 127.0.0.1 in front of the server
// that the URL postgres://… names.
func Start(postgresURL string) (*Proxy, error) {
	u, err := url.Parse(postgresURL)
	if err != nil {
		return nil, errors.New("pgproxy: malformed URL")
	}
	target := u.Host
	if u.Port() == "" {
		target = net.JoinHostPort(u.Hostname(), "5432")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("pgproxy: %w", err)
	}
	p := &Proxy{listener: l, target: target, links: map[*link]struct{}{}, done: make(chan struct{})}
	p.wg.Go(p.accept)
	return p, nil
}

// URL is postgresURL with the proxy in the server's place, without TLS.
func (p *Proxy) URL(postgresURL string) string {
	u, err := url.Parse(postgresURL)
	if err != nil {
		return postgresURL
	}
	u.Host = p.listener.Addr().String()
	q := u.Query()
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	return u.String()
}

// Add adds a rule. Rules are tried in the order they were added; the first
// that triggers decides.
func (p *Proxy) Add(r Rule) *Trigger {
	t := &Trigger{rule: r, hit: make(chan struct{}), release: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.triggers = append(p.triggers, t)
	return t
}

// Freeze stops all traffic, as a server does that accepts and never replies,
// until Thaw. New connections are accepted and freeze too.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen == nil {
		p.frozen = make(chan struct{})
	}
}

// Thaw ends Freeze; what was sent meanwhile passes.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
}

// CutAll closes all connections that are open now.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
}

// Close cuts all connections and ends the proxy.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.done)
	for l := range p.links {
		l.cut()
	}
	p.mu.Unlock()
	err := p.listener.Close()
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		_ = client.Close()
		return
	}
	l := &link{proxy: p, client: client, server: server, gone: make(chan struct{})}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		l.cut()
		return
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	l.run()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// decide waits while the proxy is frozen and then finds the rule for a message.
func (p *Proxy) decide(l *link, kind Kind, text string) *Trigger {
	p.waitThaw(l)
	if kind == 0 {
		return nil
	}
	p.mu.Lock()
	triggers := p.triggers
	p.mu.Unlock()
	for _, t := range triggers {
		if t.match(kind, text) || kind == Complete && t.match(Done, l.lastStatement()) {
			return t
		}
	}
	return nil
}

func (p *Proxy) waitThaw(l *link) {
	p.mu.Lock()
	frozen := p.frozen
	p.mu.Unlock()
	if frozen == nil {
		return
	}
	select {
	case <-frozen:
	case <-l.gone:
	case <-p.done:
	}
}
