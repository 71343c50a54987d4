package httpsend

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"unicode"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/egress"
)

const (
	// maxSnippet is how much of an answer's body is kept, in bytes.
	maxSnippet = 512
	// maxError bounds the text of an error, in bytes.
	maxError = 300
)

// classify says what kind of failure an error is, by its type and by where it happened, never by its text; and puts it in
// words that hold no part of the URL but its host.
func classify(ctx context.Context, err error) (delivery.Outcome, string) {
	if blocked, ok := errors.AsType[*egress.BlockedError](err); ok {
		return delivery.OutcomeBlocked, printable(blocked.Error(), maxError)
	}
	failed, ok := errors.AsType[*phaseError](err)
	if !ok {
		return delivery.OutcomeProtocol, printable(err.Error(), maxError)
	}
	if ctx.Err() != nil {
		return delivery.OutcomeTimeout, "the attempt was broken off"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return delivery.OutcomeDNS, dnsText(dns)
	}
	if timedOut(err) {
		return delivery.OutcomeTimeout, timeoutText[failed.phase]
	}
	switch failed.phase {
	case phaseConnect:
		return delivery.OutcomeConnection, "no connection: " + connectionText(err)
	case phaseTLS:
		if closed(err) || errors.Is(err, syscall.ECONNRESET) {
			return delivery.OutcomeTLS, "TLS: the receiver closed the connection"
		}
		return delivery.OutcomeTLS, printable("TLS: "+strings.TrimPrefix(err.Error(), "tls: "), maxError)
	case phaseWrite:
		return delivery.OutcomeConnection, "the connection broke while sending: " + connectionText(err)
	case phaseRead:
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		// A TLS 1.3 receiver refuses a client certificate only after the handshake.
		if op.Op == "remote error" || op.Op == "local error" {
			return delivery.OutcomeTLS, printable("TLS: "+op.Error(), maxError)
		}
		return delivery.OutcomeConnection, "the connection broke before the answer: " + connectionText(err)
	}
	if closed(err) {
		return delivery.OutcomeConnection, "the connection was closed before the answer"
	}
	return delivery.OutcomeProtocol, printable("the answer is not valid HTTP: "+err.Error(), maxError)
}

var timeoutText = map[phase]string{
	phaseConnect: "no connection within " + ConnectTimeout.String(),
	phaseTLS:     "no TLS within " + TLSTimeout.String(),
	phaseWrite:   "the request could not be sent in time",
	phaseRead:    "no answer within " + delivery.SendTimeout.String(),
}

// timedOut says whether a deadline passed.
func timedOut(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// dnsText leaves out which server was asked.
func dnsText(e *net.DNSError) string {
	reason := "the lookup failed"
	switch {
	case e.IsNotFound:
		reason = "no such host"
	case e.IsTimeout:
		reason = "no answer within " + ConnectTimeout.String()
	}
	return printable("DNS: "+e.Name+": "+reason, maxError)
}

// connectionText is the system's word for it, without addresses.
func connectionText(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if closed(err) {
		return "closed by the receiver"
	}
	return "the network failed"
}

// printable cuts a text to at most limit bytes, and leaves out what is not valid UTF-8 and what does not print: control
// characters, and those that turn or hide text.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	clean := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	s = strings.ToValidUTF8(s, "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s))
}
