package httpsend

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/webhook"
)

// result is what came back. status is set when there was a status line, and err when there was not.
type result struct {
	status     int
	retryAfter time.Duration
	snippet    string
	err        error
}

// maxKept is how large a buffer may be that waits with an idle connection: one large event does not stay in memory for good.
const maxKept = 16 << 10

var errNoKeys = errors.New("the subscription has no signing keys")

// exchange makes one request and reads its answer. If answer is not nil, the body is appended to it.
func (s *Sender) exchange(ctx context.Context, t *subscription.Target, m message, answer *[]byte) result {
	if t.Signer == nil || !webhook.ValidID(m.id) {
		return result{err: errNoKeys}
	}
	deadline := m.at.Add(delivery.SendTimeout)
	if d, ok := ctx.Deadline(); ok {
		deadline = earlier(d, deadline)
	}
	e, err := s.endpoint(t.URL, m.at)
	if err != nil {
		return result{err: err}
	}
	c := e.pool.get(m.at, deadline)
	reused := c != nil
	if !reused {
		if c, err = s.dial(ctx, e.pool, deadline); err != nil {
			return result{err: err}
		}
	}
	stop := context.AfterFunc(ctx, c.abort)
	c.out = append(m.append(append(c.out[:0], e.head...), t.Signer), m.body...)
	res, keep, again := c.roundTrip(answer)
	if cap(c.out) > maxKept {
		c.out = nil
	}
	if reused && res.err != nil && !c.read && !timedOut(res.err) {
		e.pool.closedSilently(m.at)
	}
	if stop() && again {
		e.pool.put(c, time.Now(), keep)
	} else {
		c.close()
	}
	return res
}

// roundTrip writes what is in out and reads the answer. again says that the connection is fit for another request.
func (c *conn) roundTrip(answer *[]byte) (res result, keep time.Duration, again bool) {
	_, writeErr := c.net.Write(c.out)
	if writeErr != nil {
		// A receiver that refuses early may have answered before it closed: its answer counts for more than our error.
		if timedOut(writeErr) || c.net.SetReadDeadline(earlier(time.Now().Add(time.Second), c.deadline)) != nil {
			return result{err: &phaseError{phaseWrite, writeErr}}, 0, false
		}
	}
	resp, err := c.readHeader() //nolint:bodyclose // Closing would read on without a limit: see readBody.
	if err != nil {
		if writeErr != nil {
			return result{err: &phaseError{phaseWrite, writeErr}}, 0, false
		}
		if c.readErr != nil {
			err = c.readErr
		}
		return result{err: &phaseError{phaseRead, err}}, 0, false
	}
	res.status = resp.StatusCode
	if value := resp.Header["Retry-After"]; len(value) > 0 {
		res.retryAfter = delivery.RetryAfter(value[0], time.Now())
	}
	c.budget = MaxBody + 4096 // and the frames of a chunked body
	whole := c.readBody(resp, &res, answer)
	again = whole && writeErr == nil && !resp.Close && resp.StatusCode != http.StatusSwitchingProtocols && c.clean()
	return res, keepAlive(resp.Header), again
}

// readHeader reads up to and with the headers of the real answer.
func (c *conn) readHeader() (*http.Response, error) {
	for range maxInformational + 1 {
		resp, err := http.ReadResponse(c.in, post)
		if err != nil {
			return nil, err
		}
		switch {
		case resp.ProtoMajor != 1 || resp.StatusCode < 100:
			return nil, errors.New("the answer is not HTTP/1")
		case resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols:
			return resp, nil
		}
	}
	return nil, errors.New("too many informational answers")
}

// post tells the parser which method is being answered.
var post = &http.Request{Method: http.MethodPost}

// readBody reads the body to its end or the limit, and says whether it was the end. The body is not closed: that would
// read on without a limit; its connection is closed instead.
func (c *conn) readBody(resp *http.Response, res *result, answer *[]byte) (whole bool) {
	if resp.Body == http.NoBody || resp.StatusCode == http.StatusSwitchingProtocols {
		return true
	}
	kept, _ := io.ReadFull(resp.Body, c.scratch[:maxSnippet])
	res.snippet = printable(string(c.scratch[:kept]), maxSnippet)
	if answer != nil {
		*answer = append(*answer, c.scratch[:kept]...)
	}
	for total := kept; total < MaxBody; {
		n, err := resp.Body.Read(c.scratch[:min(len(c.scratch), MaxBody-total)])
		total += n
		if answer != nil {
			*answer = append(*answer, c.scratch[:n]...)
		}
		if err != nil {
			return errors.Is(err, io.EOF)
		}
	}
	return false
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// keepAlive reads "Keep-Alive: timeout=5" (RFC 2068, appendix 19.7.1); 0 when there is none.
func keepAlive(h http.Header) time.Duration {
	values := h["Keep-Alive"]
	if len(values) == 0 {
		return 0
	}
	_, rest, ok := strings.Cut(values[0], "timeout=")
	if !ok {
		return 0
	}
	end := strings.IndexAny(rest, ", ;")
	if end < 0 {
		end = len(rest)
	}
	seconds, err := strconv.Atoi(rest[:end])
	if err != nil || seconds < 0 || seconds > 3600 {
		return 0
	}
	return max(time.Duration(seconds)*time.Second, time.Nanosecond)
}
