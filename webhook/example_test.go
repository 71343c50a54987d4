package webhook_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	"hirewire.dev/webhook"
)

// A receiver: it verifies, and hands over what is genuine. In a service the
// secret comes from the configuration, and the store keeps what it gets; see
// package inbox for one that does.
func ExampleReceiver() {
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		panic(err)
	}
	receiver, err := webhook.NewReceiver(webhook.ReceiverConfig{
		Secrets: []webhook.Secret{secret},
		Store: webhook.StoreFunc(func(_ context.Context, d webhook.Delivery) error {
			fmt.Println("got", d.Event.Type, string(d.Event.Data))
			return nil // only now the sender forgets it
		}),
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/employees", receiver)

	send(mux, secret, `{"type":"employee.created","timestamp":"2026-11-20T09:00:00Z","data":{"version":1}}`)
	send(mux, webhook.NewSecret(), `{"type":"employee.created","timestamp":"2026-11-20T09:00:00Z","data":{"version":2}}`)
	// Output:
	// got employee.created {"version":1}
	// 200 {"status":"accepted"}
	// 401 {"status":"refused"}
}

// A sender signs the exact bytes that it sends.
func ExampleSigner() {
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		panic(err)
	}
	signer, err := webhook.NewSigner(secret) // in a rotation: the new one, then the old one
	if err != nil {
		panic(err)
	}
	fmt.Println(signer.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)))
	// Output: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
}

// A refusal carries the reason, for the receiver's own log and counters.
func ExampleVerifier_Verify() {
	verifier := webhook.Verifier{Secrets: []webhook.Secret{webhook.NewSecret()}}
	header := http.Header{}
	header.Set("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
	header.Set("webhook-timestamp", "1614265330")
	header.Set("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	_, err := verifier.Verify(header, []byte(`{"test": 2432232314}`))
	fmt.Println(webhook.ReasonOf(err))
	// Output: too_old
}

// In a rotation the receiver trusts both secrets until the sender has changed
// over.
func ExampleReceiver_SetSecrets() {
	oldSecret, newSecret := webhook.NewSecret(), webhook.NewSecret()
	receiver, err := webhook.NewReceiver(webhook.ReceiverConfig{
		Secrets: []webhook.Secret{oldSecret},
		Store:   webhook.StoreFunc(func(context.Context, webhook.Delivery) error { return nil }),
	})
	if err != nil {
		panic(err)
	}
	body := `{"type":"webhook.test","timestamp":"2026-11-20T09:00:00Z","data":{}}`
	if err := receiver.SetSecrets(newSecret, oldSecret); err != nil {
		panic(err)
	}
	send(receiver, oldSecret, body)
	send(receiver, newSecret, body)
	if err := receiver.SetSecrets(newSecret); err != nil {
		panic(err)
	}
	send(receiver, oldSecret, body)
	// Output:
	// 200 {"status":"accepted"}
	// 200 {"status":"accepted"}
	// 401 {"status":"refused"}
}

// A sender asks a new URL to prove that it holds the secret.
func ExampleCheckChallengeResponse() {
	secret := webhook.NewSecret()
	receiver, err := webhook.NewReceiver(webhook.ReceiverConfig{
		Secrets: []webhook.Secret{secret},
		Store:   webhook.StoreFunc(func(context.Context, webhook.Delivery) error { return nil }),
	})
	if err != nil {
		panic(err)
	}
	challenge := webhook.NewChallenge()
	_, answer := post(receiver, secret, fmt.Sprintf(
		`{"type":"webhook.verification","timestamp":"2026-11-20T09:00:00Z","data":{"challenge":%q}}`, challenge))
	fmt.Println(webhook.CheckChallengeResponse(secret, challenge, answer))
	// Output: <nil>
}

func send(receiver http.Handler, secret webhook.Secret, body string) {
	status, answer := post(receiver, secret, body)
	fmt.Println(status, string(answer))
}

// post is what a sender does.
func post(receiver http.Handler, secret webhook.Secret, body string) (int, []byte) {
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		panic(err)
	}
	id, at := "evt_01J8Z3N4Y5X6W7V8T9S0R1Q2P3", time.Now()
	req := httptest.NewRequest(http.MethodPost, "/webhooks/employees", bytes.NewReader([]byte(body)))
	req.Header.Set("content-type", "application/json")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	req.Header.Set("webhook-signature", signer.Sign(id, at, []byte(body)))
	res := httptest.NewRecorder()
	receiver.ServeHTTP(res, req)
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		panic(err)
	}
	return res.Code, answer
}
