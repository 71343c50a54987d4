package webhook_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"hirewire.dev/webhook"
)

// vectorsDigest guards the published vectors against being edited to fit.
const vectorsDigest = "9b3658ac9396b86123258a93a6da5e550887a150bd4b5c4f9e27e16056dbda6f"

type vector struct {
	Name       string
	Secret     string
	Refused    bool   `json:"refused_as_secret"`
	PrivateKey string `json:"private_key"`
	PublicKey  string `json:"public_key"`
	ID         string
	Timestamp  int64
	Body       string
	Signature  string
	Fails      bool
}

func TestVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != vectorsDigest {
		t.Errorf("testdata/vectors.json has digest %x: published vectors do not change", sum)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) { testVector(t, v) })
	}
}

func testVector(t *testing.T, v vector) {
	at := time.Unix(v.Timestamp, 0)
	verifier := webhook.Verifier{Now: func() time.Time { return at }}
	var key webhook.SigningKey
	if v.Secret != "" {
		secret := vectorSecret(t, v)
		verifier.Secrets = []webhook.Secret{secret}
		key = secret
	} else {
		private, err := webhook.ParsePrivateKey(v.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		public, err := webhook.ParsePublicKey(v.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		if private.Public() != public {
			t.Errorf("public half is %s, want %s", private.Public(), public)
		}
		if got := private.Reveal(); got != v.PrivateKey {
			t.Errorf("the private key does not come back as it was")
		}
		verifier.PublicKeys = []webhook.PublicKey{public}
		key = private
	}
	signer, err := webhook.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	if got := signer.Sign(v.ID, at, []byte(v.Body)); (got == v.Signature) == v.Fails {
		t.Errorf("Sign = %s, vector has %s, fails: %t", got, v.Signature, v.Fails)
	}
	h := http.Header{}
	h.Set("webhook-id", v.ID)
	h.Set("webhook-timestamp", strconv.FormatInt(v.Timestamp, 10))
	h.Set("webhook-signature", v.Signature)
	_, err = verifier.Verify(h, []byte(v.Body))
	if v.Fails != (err != nil) {
		t.Errorf("Verify: %v, want it to fail: %t", err, v.Fails)
	}
}

func vectorSecret(t *testing.T, v vector) webhook.Secret {
	t.Helper()
	secret, err := webhook.ParseSecret(v.Secret)
	if v.Refused != (err != nil) {
		t.Errorf("ParseSecret: %v, want it refused: %t", err, v.Refused)
	}
	if err == nil {
		if secret.Reveal() != v.Secret {
			t.Errorf("the secret does not come back as it was")
		}
		return secret
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(v.Secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	return webhook.RawSecret(raw)
}
