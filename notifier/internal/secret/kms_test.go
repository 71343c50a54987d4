package secret_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"hirewire.dev/notifier/internal/secret"
	"hirewire.dev/platform/id"
)

// kms speaks the protocol of AWS KMS (JSON 1.1, TrentService). What it encrypts is a handle to what it keeps.
type kms struct {
	mu    sync.Mutex
	kept  map[string]string // by handle: key id and plaintext
	calls map[string]int
	down  bool
}

func (k *kms) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	k.calls[operation]++
	var request struct{ KeyId, Plaintext, CiphertextBlob string } // as AWS writes it
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || k.down || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": "DisabledException", "message": "arn:aws:kms:secret-detail"})
		return
	}
	switch operation {
	case "Encrypt":
		handle := "aGFuZGxl" + strings.Repeat("A", 4*len(k.kept)) // base64
		k.kept[handle] = request.KeyId + " " + request.Plaintext
		_ = json.NewEncoder(w).Encode(map[string]string{"CiphertextBlob": handle, "KeyId": request.KeyId})
	case "Decrypt":
		keyID, plaintext, found := strings.Cut(k.kept[request.CiphertextBlob], " ")
		if !found {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"__type": "InvalidCiphertextException"})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"Plaintext": plaintext, "KeyId": keyID})
	}
}

func (k *kms) decrypted() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls["Decrypt"]
}

// The protocol of a real key management service, spoken by the library that production uses.
func TestAMasterKeyInAWSKMS(t *testing.T) {
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(name, value)
	}
	service := &kms{kept: map[string]string{}, calls: map[string]int{}}
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	url := "awskms://alias/hirewire?region=eu-central-1&endpoint=" + server.URL
	if err := secret.CheckMaster(url); err != nil {
		t.Fatal(err)
	}
	open := func() secret.Master {
		t.Helper()
		m, err := secret.OpenMaster(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		return m
	}
	m := &memory{texts: map[string]secret.Text{}}
	first := box(t, m, open())
	keyID, sealed, err := first.Seal(t.Context(), "sub_1", "whsec_text")
	if err != nil {
		t.Fatal(err)
	}
	asked := service.decrypted()
	for range 100 { // the service is asked at the start, and not for each secret
		if got, err := first.Open(t.Context(), "sub_1", keyID, sealed); err != nil || got != "whsec_text" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if n := service.decrypted() - asked; n != 0 {
		t.Errorf("the service was asked %d times for what is known", n)
	}
	if got, err := box(t, m, open()).Open(t.Context(), "sub_1", keyID, sealed); err != nil || got != "whsec_text" {
		t.Errorf("after a restart: %q, %v", got, err)
	}
	service.mu.Lock()
	service.down = true
	service.mu.Unlock()
	if _, err := secret.NewBox(t.Context(), m, id.New, open()); err == nil {
		t.Error("it starts while the service refuses")
	} else if errors.Is(err, secret.ErrUnknownKey) {
		t.Errorf("a service that refuses is not a wrong key: %v", err)
	}
}
