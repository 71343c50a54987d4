package webhook_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"hirewire.dev/webhook"
)

// FuzzVerify gives the verifier headers of any kind: it must refuse all that
// do not carry the one right signature, and never panic.
func FuzzVerify(f *testing.F) {
	secret := webhook.RawSecret(bytes.Repeat([]byte{1}, 32))
	private, err := webhook.ParsePrivateKey("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==")
	if err != nil {
		f.Fatal(err)
	}
	at := time.Unix(1614265330, 0)
	good := signed(f, at, goodBody, secret).signature()
	good1a := signed(f, at, goodBody, private).signature()
	f.Add(goodID, "1614265330", good, goodBody)
	f.Add(goodID, "1614265330", good1a, goodBody)
	f.Add(goodID, "1614265330", good+" "+good1a+" v2,x", goodBody)
	f.Add("", "", "v1,", []byte(nil))
	f.Add("a.b", "01614265330", "v1a,v1,v1 , ,", []byte("{}"))
	v := webhook.Verifier{
		Secrets:    []webhook.Secret{secret},
		PublicKeys: []webhook.PublicKey{private.Public()},
		Now:        func() time.Time { return at },
	}
	f.Fuzz(func(t *testing.T, id, timestamp, signatures string, body []byte) {
		h := http.Header{}
		h["Webhook-Id"] = []string{id}
		h["Webhook-Timestamp"] = []string{timestamp}
		h["Webhook-Signature"] = []string{signatures}
		got, err := v.Verify(h, body)
		if err != nil {
			if webhook.ReasonOf(err) == "" {
				t.Fatalf("%v has no reason", err)
			}
			return
		}
		unix, err := strconv.ParseInt(timestamp, 10, 64)
		if err != nil || !webhook.ValidID(id) {
			t.Fatalf("accepted id %q, timestamp %q", id, timestamp)
		}
		signer, err := webhook.NewSigner(secret, private)
		if err != nil {
			t.Fatal(err)
		}
		text := signer.Sign(id, time.Unix(unix, 0), body)
		a, b, _ := bytes.Cut([]byte(text), []byte(" "))
		if !bytes.Contains([]byte(signatures), a) && !bytes.Contains([]byte(signatures), b) {
			t.Fatalf("accepted %+v without a right signature in %q", got, signatures)
		}
	})
}

// FuzzReceiver gives the handler requests of any kind, once as they are and
// once rightly signed: it answers with a status of its set, and what it stores
// is what was signed.
func FuzzReceiver(f *testing.F) {
	f.Add("POST", "application/json", "id", "1614265330", "v1,", goodBody)
	f.Add("POST", "application/json;charset=utf-8", "", "", "", []byte(`{"type":"webhook.verification","timestamp":"2026-11-20T09:00:00Z","data":{"challenge":"x"}}`))
	f.Add("GET", "text/plain", "", "", "", []byte(nil))
	secret := webhook.NewSecret()
	var stored []webhook.Delivery
	receiver, err := webhook.NewReceiver(webhook.ReceiverConfig{
		Secrets: []webhook.Secret{secret},
		MaxBody: 4 << 10,
		Store: webhook.StoreFunc(func(_ context.Context, d webhook.Delivery) error {
			stored = append(stored, d)
			return nil
		}),
	})
	if err != nil {
		f.Fatal(err)
	}
	send := func(method, contentType string, h http.Header, body []byte) int {
		req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		req.Method = method
		req.Header = h
		req.Header["Content-Type"] = []string{contentType}
		res := httptest.NewRecorder()
		receiver.ServeHTTP(res, req)
		return res.Code
	}
	f.Fuzz(func(t *testing.T, method, contentType, id, timestamp, signatures string, body []byte) {
		stored = nil
		h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {timestamp}, "Webhook-Signature": {signatures}}
		switch status := send(method, contentType, h, body); status {
		case 401, 405, 413, 415:
		default:
			t.Fatalf("unsigned: %d", status)
		}
		if len(stored) > 0 {
			t.Fatal("stored what nobody signed")
		}
		r := signed(t, time.Now(), body, secret)
		switch status := send("POST", "application/json", r.header, body); status {
		case 200, 202:
		case 400:
			if len(body) > 0 {
				t.Fatalf("%d for a body", status)
			}
		case 413:
			if len(body) <= 4<<10 {
				t.Fatalf("%d for %d bytes", status, len(body))
			}
		default:
			t.Fatalf("signed: %d", status)
		}
		for _, d := range stored {
			if !bytes.Equal(d.Body, body) || d.ID != goodID || (d.Problem == nil) != (d.Event.Type != "") {
				t.Fatalf("stored %+v", d)
			}
		}
	})
}
