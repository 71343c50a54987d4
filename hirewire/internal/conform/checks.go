package conform

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"hirewire.dev/platform/id"
	"hirewire.dev/webhook"
)

// checks are made in this order: first what must be taken, then what must be refused. Without the first, no other is made.
var checks = []check{
	{
		name: "valid message", wanted: "2xx", severity: Fail,
		fix: "check --url and --secret first; then verify the HMAC over the raw bytes {webhook-id}.{webhook-timestamp}.{body}, before anything parses the body",
		try: func(ctx context.Context, r *Receiver) (answer, bool) { return r.expect(ctx, r.message(), accepted) },
	},
	{
		name: "fast answer", wanted: "2xx within 5 s", severity: Warn,
		fix: "store the message, commit, answer; work on it afterwards",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			return r.expect(ctx, r.message(), func(a answer) bool { return accepted(a) && a.took < 5*time.Second })
		},
	},
	{
		name: "duplicate message", wanted: "2xx both times", severity: Fail,
		fix: "a webhook-id that was seen before is answered with 2xx and not worked on again; anything else is sent again for days",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			key := newID()
			body := eventBody(key, r.EventType)
			if a, ok := r.expect(ctx, r.signed(key, time.Now(), body, r.Secret), accepted); !ok {
				return a, false
			}
			return r.expect(ctx, r.signed(key, time.Now(), body, r.Secret), accepted)
		},
	},
	{
		// Which state the receiver keeps cannot be seen from here.
		name: "messages out of order", wanted: "2xx for version 2 of an employee, then 2xx for version 1", severity: Fail,
		fix: "take messages in any order, and let the version in the data decide which state is newer; that the newer one stays is for a test of your own",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			employee, newer, older := id.New("emp"), newID(), newID()
			if a, ok := r.expect(ctx, r.signed(newer, time.Now(), employeeBody(newer, r.EventType, employee, 2), r.Secret), accepted); !ok {
				return a, false
			}
			return r.expect(ctx, r.signed(older, time.Now(), employeeBody(older, r.EventType, employee, 1), r.Secret), accepted)
		},
	},
	{
		name: "secret rotation", wanted: "2xx when any one of several signatures is right", severity: Fail,
		fix: "split webhook-signature at spaces and try each entry; skip versions that you do not know",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			key, now := newID(), time.Now()
			m := r.signed(key, now, eventBody(key, r.EventType), webhook.NewSecret(), r.Secret)
			m.header.Set("webhook-signature", "v2,bm90IGtub3du "+m.header.Get("webhook-signature"))
			return r.expect(ctx, m, accepted)
		},
	},
	{
		name: "clock 299 s off", wanted: "2xx", severity: Warn,
		fix: "allow five minutes of difference between the clocks, both ways",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			key := newID()
			return r.expect(ctx, r.signed(key, time.Now().Add(-299*time.Second), eventBody(key, r.EventType), r.Secret), accepted)
		},
	},
	{
		name: "unknown event type", wanted: "2xx", severity: Warn,
		fix: "answer 2xx to types that you do not use; an error is retried for days",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			key := newID()
			return r.expect(ctx, r.signed(key, time.Now(), eventBody(key, "conform.unknown"), r.Secret), accepted)
		},
	},
	{
		name: "signed, but not understood", wanted: "2xx", severity: Warn,
		fix: "store what is validly signed and cannot be understood aside for a person to look at, and answer 202: sending it again cannot mend it",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			return r.expect(ctx, r.signed(newID(), time.Now(), []byte("this is not JSON"), r.Secret), accepted)
		},
	},
	{
		name: "ownership challenge", wanted: "200 with the challenge signed", severity: Warn,
		fix: `answer a webhook.verification with {"challenge": data.challenge, "response": "v1,<base64 HMAC-SHA256(secret, challenge)>"}; without it a subscription never becomes active`,
		try: challenge,
	},
	refused("no signature", "refuse a message without webhook-signature", func(m *message) { m.header.Del("webhook-signature") }),
	refused("no id", "refuse a message without webhook-id", func(m *message) { m.header.Del("webhook-id") }),
	refused("no timestamp", "refuse a message without webhook-timestamp", func(m *message) { m.header.Del("webhook-timestamp") }),
	refused("empty signature", "an empty signature matches nothing; beware of prefix comparisons", func(m *message) { m.header.Set("webhook-signature", "v1,") }),
	refused("truncated signature", "compare the whole signature", func(m *message) {
		s := m.header.Get("webhook-signature")
		m.header.Set("webhook-signature", s[:len(s)/2])
	}),
	refused("signature in hexadecimal", "the signature is standard base64 and nothing else", func(m *message) {
		raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.header.Get("webhook-signature"), "v1,"))
		m.header.Set("webhook-signature", fmt.Sprintf("v1,%x", raw))
	}),
	refused("zero signature", "compute the signature and compare it; an all-zero one is a forgery", func(m *message) {
		m.header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(make([]byte, 32)))
	}),
	refused("another id", "the id is part of what is signed; without it a message can be replayed under a new id", func(m *message) { m.header.Set("webhook-id", newID()) }),
	refused("another timestamp", "the timestamp is part of what is signed; without it an old message can be made fresh", func(m *message) {
		m.header.Set("webhook-timestamp", fmt.Sprint(time.Now().Unix()-1))
	}),
	refused("timestamp that is no number", "a timestamp is ten digits", func(m *message) { m.header.Set("webhook-timestamp", "1.7e9") }),
	refused("body changed by one byte", "verify the raw bytes that arrived", func(m *message) {
		body, _ := io.ReadAll(m.body)
		body[len(body)-3] ^= 1
		m.body = bytes.NewReader(body)
	}),
	refused("body written anew", "verify the raw bytes that arrived, not what a parser made of them", func(m *message) {
		body, _ := io.ReadAll(m.body)
		body = append(body, '\n')
		m.body, m.length = bytes.NewReader(body), int64(len(body))
	}),
	{
		name: "another's secret", wanted: "4xx", severity: Fail,
		fix: "verify with the secret of this subscription only",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			key := newID()
			return r.expect(ctx, r.signed(key, time.Now(), eventBody(key, r.EventType), webhook.NewSecret()), refusedStatus)
		},
	},
	{
		name: "six minutes old", wanted: "4xx", severity: Fail,
		fix: "refuse timestamps more than five minutes old: a captured message could be replayed for ever",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			key := newID()
			return r.expect(ctx, r.signed(key, time.Now().Add(-6*time.Minute), eventBody(key, r.EventType), r.Secret), refusedStatus)
		},
	},
	{
		name: "six minutes ahead", wanted: "4xx", severity: Fail,
		fix: "refuse timestamps more than five minutes ahead, too",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			key := newID()
			return r.expect(ctx, r.signed(key, time.Now().Add(6*time.Minute), eventBody(key, r.EventType), r.Secret), refusedStatus)
		},
	},
	{
		name: "20,000 signatures", wanted: "4xx", severity: Warn,
		fix: "bound the number of signatures that are tried (16 is plenty)",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			m := r.message()
			m.header.Set("webhook-signature", strings.Repeat("v1,AAAA ", 20_000)+m.header.Get("webhook-signature"))
			return r.expect(ctx, m, func(a answer) bool { return refusedStatus(a) || dropped(a) })
		},
	},
	{
		name: "oversized body", wanted: "413, or the connection closed, before 16 of 64 MiB are taken", severity: Fail,
		fix: "bound the body (320 KiB is plenty) before reading it into memory",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			return large(ctx, r, largeBody, http.StatusRequestEntityTooLarge)
		},
	},
	{
		name: "endless body", wanted: "413 or 411, or the connection closed, before 16 MiB are taken", severity: Fail,
		fix: "bound what is read, whatever length is declared",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			return large(ctx, r, -1, http.StatusRequestEntityTooLarge, http.StatusLengthRequired)
		},
	},
	{
		name: "GET", wanted: "405", severity: Warn,
		fix: "answer methods other than POST with 405",
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			m := r.message()
			m.method, m.body, m.length = http.MethodGet, nil, 0
			return r.expect(ctx, m, func(a answer) bool { return a.err == nil && a.status == http.StatusMethodNotAllowed })
		},
	},
	{
		name: "no oracle", wanted: "the same answer to every forgery", severity: Warn,
		fix: "answer every refusal with the same status and body; the reason belongs into your log",
		try: oracle,
	},
	{
		name: "well after all this", wanted: "2xx", severity: Fail,
		fix: "something above broke the receiver for honest senders",
		try: func(ctx context.Context, r *Receiver) (answer, bool) { return r.expect(ctx, r.message(), accepted) },
	},
}

func refused(name, fix string, change func(*message)) check {
	return check{
		name: name, wanted: "4xx", severity: Fail, fix: fix,
		try: func(ctx context.Context, r *Receiver) (answer, bool) {
			m := r.message()
			change(m)
			return r.expect(ctx, m, refusedStatus)
		},
	}
}

func (r *Receiver) expect(ctx context.Context, m *message, right func(answer) bool) (answer, bool) {
	a, _ := r.send(ctx, m)
	return a, right(a)
}

func accepted(a answer) bool      { return a.err == nil && a.status >= 200 && a.status <= 299 }
func refusedStatus(a answer) bool { return a.err == nil && a.status >= 400 && a.status <= 499 }

// dropped allows for a server that closes the connection on what it will not read; one that does not answer holds it.
func dropped(a answer) bool {
	var timeout net.Error
	return a.err != nil && (!errors.As(a.err, &timeout) || !timeout.Timeout())
}

// What is sent of a large body, and how much of it may be taken: the buffers of both systems hold some MiB of it.
const (
	largeBody = 64 << 20
	largeRead = 16 << 20
)

// large sends a large body of a declared length, -1 for none. It is right to answer so, or to close the connection, before
// much of it is read.
func large(ctx context.Context, r *Receiver, declared int64, right ...int) (answer, bool) {
	m, body := r.message(), &zeros{}
	m.body, m.length = io.LimitReader(body, largeBody), declared
	return r.expect(ctx, m, func(a answer) bool {
		return (dropped(a) || a.err == nil && slices.Contains(right, a.status)) && body.taken.Load() < largeRead
	})
}

func challenge(ctx context.Context, r *Receiver) (answer, bool) {
	text, key := webhook.NewChallenge(), newID()
	body, err := json.Marshal(map[string]any{
		"id": key, "type": "webhook.verification", "timestamp": time.Now().UTC().Format(time.RFC3339), "data": map[string]any{"challenge": text},
	})
	if err != nil {
		return answer{err: err}, false
	}
	return r.expect(ctx, r.signed(key, time.Now(), body, r.Secret), func(a answer) bool {
		return a.err == nil && a.status == http.StatusOK && webhook.CheckChallengeResponse(r.Secret, text, a.body) == nil
	})
}

// oracle compares the answers to a wrong secret and to a stale message that is signed rightly.
func oracle(ctx context.Context, r *Receiver) (answer, bool) {
	key := newID()
	body := eventBody(key, r.EventType)
	wrong, _ := r.send(ctx, r.signed(key, time.Now(), body, webhook.NewSecret()))
	stale, _ := r.send(ctx, r.signed(key, time.Now().Add(-time.Hour), body, r.Secret))
	return wrong, wrong.err == nil && stale.err == nil && wrong.status == stale.status && bytes.Equal(wrong.body, stale.body)
}

func newID() string { return id.New("evt") }

func eventBody(eventID, eventType string) []byte {
	return employeeBody(eventID, eventType, id.New("emp"), 1)
}

func employeeBody(eventID, eventType, employeeID string, version int) []byte {
	body, err := json.Marshal(map[string]any{
		"id": eventID, "type": eventType, "timestamp": time.Now().UTC().Format(time.RFC3339Nano),
		"data": map[string]any{"employee": map[string]any{"id": employeeID, "version": version}},
	})
	if err != nil {
		panic(err) // maps of strings and numbers always marshal
	}
	return body
}

// zeros has no end, and counts what was taken.
type zeros struct{ taken atomic.Int64 }

func (z *zeros) Read(p []byte) (int, error) {
	clear(p)
	z.taken.Add(int64(len(p)))
	return len(p), nil
}
