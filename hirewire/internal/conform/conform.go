// Package conform checks a webhook receiver, in whatever language it is written, from outside: it sends it what a sender, a
// proxy and an attacker would send, and looks at the answers.
package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"hirewire.dev/webhook"
)

// Grade is the judgement of one check.
type Grade string

// The grades. Only Fail is a defect that loses, doubles or forges events; Warn is worth mending.
const (
	Pass Grade = "PASS"
	Warn Grade = "WARN"
	Fail Grade = "FAIL"
)

// Finding is what came of one check.
type Finding struct {
	Check  string `json:"check"`
	Grade  Grade  `json:"grade"`
	Got    string `json:"got"`
	Wanted string `json:"wanted"`
	// Fix says what to do; empty on Pass.
	Fix string `json:"fix,omitempty"`
}

// Receiver is what is checked.
type Receiver struct {
	URL    string
	Secret webhook.Secret
	// EventType of the valid messages. They say webhook.test by default, which opens no account.
	EventType string
	Client    *http.Client
}

// NewClient returns a client that behaves as a webhook sender does: it follows no redirect and does not wait for ever.
func NewClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Run makes every check in turn and hands each finding over as it is made. It stops after a valid message that is not taken:
// a receiver that takes nothing would pass wherever something is to be refused. It fails when the receiver cannot be reached
// at all.
func (r *Receiver) Run(ctx context.Context, found func(Finding)) error {
	if r.EventType == "" {
		r.EventType = "webhook.test"
	}
	if _, err := r.send(ctx, r.message()); err != nil {
		return fmt.Errorf("reach the receiver: %w", err)
	}
	for i, c := range checks {
		finding, err := c.run(ctx, r)
		if err != nil {
			return err
		}
		found(finding)
		if i == 0 && finding.Grade != Pass {
			return nil
		}
	}
	return nil
}

// answer is what a receiver said to one request.
type answer struct {
	status int
	body   []byte
	took   time.Duration
	err    error
}

func (a answer) String() string {
	if a.err != nil {
		return "no answer"
	}
	return fmt.Sprintf("%d in %d ms", a.status, a.took.Milliseconds())
}

// message is a request to be, valid until something is changed.
type message struct {
	method string
	header http.Header
	body   io.Reader
	length int64 // what is declared; -1: chunked
}

// message returns a valid one.
func (r *Receiver) message() *message {
	id := newID()
	return r.signed(id, time.Now(), eventBody(id, r.EventType), r.Secret)
}

func (r *Receiver) signed(id string, at time.Time, body []byte, keys ...webhook.SigningKey) *message {
	signer, err := webhook.NewSigner(keys...)
	if err != nil {
		panic(err) // there is at least one key and they are all whole
	}
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set("User-Agent", "Hirewire/conform")
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", fmt.Sprint(at.Unix()))
	header.Set("webhook-signature", signer.Sign(id, at, body))
	return &message{method: http.MethodPost, header: header, body: bytes.NewReader(body), length: int64(len(body))}
}

func (r *Receiver) send(ctx context.Context, m *message) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, m.method, r.URL, m.body)
	if err != nil {
		return answer{}, err
	}
	request.Header = m.header
	request.ContentLength = m.length
	start := time.Now()
	response, err := r.Client.Do(request)
	a := answer{err: err, took: time.Since(start)}
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	a.status = response.StatusCode
	a.body, _ = io.ReadAll(io.LimitReader(response.Body, 64<<10))
	return a, nil
}

// check is one thing to know about a receiver.
type check struct {
	name   string
	wanted string
	fix    string
	// severity when it is not so.
	severity Grade
	// try sends what there is to send and says whether the answers are right.
	try func(ctx context.Context, r *Receiver) (answer, bool)
}

func (c check) run(ctx context.Context, r *Receiver) (Finding, error) {
	a, ok := c.try(ctx, r)
	if err := ctx.Err(); err != nil && errors.Is(a.err, err) {
		return Finding{}, err
	}
	f := Finding{Check: c.name, Grade: Pass, Got: a.String(), Wanted: c.wanted}
	if !ok {
		f.Grade, f.Fix = c.severity, c.fix
	}
	return f, nil
}
