package webhook_test

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"hirewire.dev/webhook"
)

// The public Standard Webhooks library accepts what we sign, and we accept what
// it signs, for 10,000 messages of random ids, bodies and secrets.
func TestPublicLibraryAgrees(t *testing.T) {
	const seed = 7
	random := mathrand.New(mathrand.NewPCG(seed, seed))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	for i := range 10_000 {
		secret := webhook.NewSecret()
		public, err := standardwebhooks.NewWebhook(secret.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		signer, err := webhook.NewSigner(secret)
		if err != nil {
			t.Fatal(err)
		}
		idBytes := make([]byte, 1+random.IntN(64))
		for j := range idBytes {
			idBytes[j] = alphabet[random.IntN(len(alphabet))]
		}
		id := string(idBytes)
		body := make([]byte, random.IntN(2048))
		rand.Read(body)
		at := time.Now().Add(time.Duration(random.IntN(500)-250) * time.Second)

		h := http.Header{}
		h.Set("webhook-id", id)
		h.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		ours := signer.Sign(id, at, body)
		theirs, err := public.Sign(id, at, body)
		if err != nil {
			t.Fatal(err)
		}
		if ours != theirs {
			t.Fatalf("message %d: we sign %s, the public library %s", i, ours, theirs)
		}
		h.Set("webhook-signature", ours)
		if err := public.Verify(body, h); err != nil {
			t.Fatalf("message %d: the public library refuses ours: %v", i, err)
		}
		h.Set("webhook-signature", theirs)
		v := webhook.Verifier{Secrets: []webhook.Secret{secret}}
		if _, err := v.Verify(h, body); err != nil {
			t.Fatalf("message %d: we refuse the public library's: %v", i, err)
		}
		if len(body) > 0 {
			body[random.IntN(len(body))] ^= 1 << random.IntN(8)
			if _, err := v.Verify(h, body); err == nil {
				t.Fatalf("message %d: a flipped bit went through", i)
			}
		}
	}
}
