package webhook_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"hirewire.dev/webhook"
)

func whsec(n int, fill byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, n))
}

func TestParseSecret(t *testing.T) {
	tests := map[string]struct {
		text string
		ok   bool
	}{
		"24 bytes":                {whsec(24, 1), true},
		"32 bytes":                {whsec(32, 1), true},
		"64 bytes":                {whsec(64, 1), true},
		"no prefix":               {strings.TrimPrefix(whsec(32, 1), "whsec_"), true},
		"empty":                   {"", false},
		"prefix only":             {"whsec_", false},
		"21 bytes":                {"whsec_C2FVsBQIhrscChlQIM+b5sSYspob", false},
		"23 bytes":                {whsec(23, 1), false},
		"65 bytes":                {whsec(65, 1), false},
		"all zero":                {whsec(32, 0), false},
		"misspelt prefix":         {"hwsec_" + strings.TrimPrefix(whsec(32, 1), "whsec_"), false},
		"private key's prefix":    {"whsk_" + strings.TrimPrefix(whsec(32, 1), "whsec_"), false},
		"public key's prefix":     {"whpk_" + strings.TrimPrefix(whsec(32, 1), "whsec_"), false},
		"prefix twice":            {"whsec_" + whsec(32, 1), false},
		"prefix in capitals":      {strings.Replace(whsec(32, 1), "whsec_", "WHSEC_", 1), false},
		"URL alphabet":            {"whsec_" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 32)), false},
		"no padding":              {strings.TrimRight(whsec(32, 1), "="), false},
		"stray bits":              {strings.TrimSuffix(whsec(32, 1), "E=") + "F=", false},
		"line break":              {whsec(32, 1) + "\n", false},
		"line break within":       {whsec(32, 1)[:20] + "\r\n" + whsec(32, 1)[20:], false},
		"leading space":           {" " + whsec(32, 1), false},
		"hexadecimal, odd length": {"whsec_" + strings.Repeat("ab0", 21), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			secret, err := webhook.ParseSecret(tt.text)
			if tt.ok != (err == nil) || tt.ok == secret.IsZero() {
				t.Fatalf("ParseSecret = %v, zero %t; want ok %t", err, secret.IsZero(), tt.ok)
			}
			if err != nil {
				if !errors.Is(err, webhook.ErrInvalidKey) {
					t.Errorf("%v is not ErrInvalidKey", err)
				}
				if len(tt.text) > 8 && strings.Contains(err.Error(), tt.text[8:]) {
					t.Error("the error repeats the text")
				}
			}
		})
	}
}

func TestParsePrivateKey(t *testing.T) {
	good := webhook.NewPrivateKey()
	text := good.Reveal()
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsk_"))
	if err != nil {
		t.Fatal(err)
	}
	encode := func(raw []byte) string { return "whsk_" + base64.StdEncoding.EncodeToString(raw) }
	foreign := bytes.Clone(raw)
	copy(foreign[32:], bytes.Repeat([]byte{7}, 32))
	tests := map[string]struct {
		text string
		ok   bool
	}{
		"generated":          {text, true},
		"no prefix":          {strings.TrimPrefix(text, "whsk_"), true},
		"seed only":          {encode(raw[:32]), false},
		"another public key": {encode(foreign), false},
		"all zero":           {encode(make([]byte, 64)), false},
		"a secret":           {whsec(64, 1), false},
		"empty":              {"", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			key, err := webhook.ParsePrivateKey(tt.text)
			if tt.ok != (err == nil) || tt.ok == key.IsZero() {
				t.Fatalf("ParsePrivateKey = %v, want ok %t", err, tt.ok)
			}
			if err == nil && key.Public() != good.Public() {
				t.Error("another key came out")
			}
		})
	}
}

func TestParsePublicKey(t *testing.T) {
	good := webhook.NewPrivateKey().Public()
	point := func(first, rest, last byte) string {
		raw := bytes.Repeat([]byte{rest}, 32)
		raw[0], raw[31] = first, last
		return "whpk_" + base64.StdEncoding.EncodeToString(raw)
	}
	tests := map[string]struct {
		text string
		ok   bool
	}{
		"generated":                 {good.String(), true},
		"31 bytes":                  {"whpk_" + base64.StdEncoding.EncodeToString(make([]byte, 31)), false},
		"all zero":                  {point(0, 0, 0), false},
		"all zero, sign bit":        {point(0, 0, 0x80), false},
		"neutral element":           {point(1, 0, 0), false},
		"order two":                 {point(0xec, 0xff, 0x7f), false},
		"neutral, not reduced":      {point(0xee, 0xff, 0x7f), false},
		"a secret of the same size": {whsec(32, 1), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			key, err := webhook.ParsePublicKey(tt.text)
			if tt.ok != (err == nil) || tt.ok == key.IsZero() {
				t.Fatalf("ParsePublicKey = %v, want ok %t", err, tt.ok)
			}
			if err == nil && key.String() != tt.text {
				t.Errorf("String = %s, want %s", key, tt.text)
			}
		})
	}
}

// What holds keys gets printed sooner or later: whole, by pointer, in a slice,
// in an unexported field.
func TestKeysNeverShow(t *testing.T) {
	secret, private := webhook.NewSecret(), webhook.NewPrivateKey()
	type holder struct {
		Secret  webhook.Secret
		Private webhook.PrivateKey
		secret  webhook.Secret
		private webhook.PrivateKey
	}
	h := holder{secret, private, secret, private}
	signer, err := webhook.NewSigner(secret, private)
	if err != nil {
		t.Fatal(err)
	}
	verifier := &webhook.Verifier{Secrets: []webhook.Secret{secret}}
	receiver, err := webhook.NewReceiver(webhook.ReceiverConfig{
		Secrets: []webhook.Secret{secret}, Store: webhook.StoreFunc(nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, nil))
	jsonLogger := slog.New(slog.NewJSONHandler(&out, nil))
	values := []any{
		secret, &secret, private, &private, h, &h,
		[]webhook.Secret{secret},
		map[string]webhook.PrivateKey{"k": private},
		signer, verifier, receiver,
	}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%c", "%U"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		logger.Info("m", "v", v)
		jsonLogger.Info("m", "v", v)
	}
	for _, v := range []any{secret, &private, h} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	text, err := xml.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)

	printed := out.String()
	if !strings.Contains(printed, "***") {
		t.Error("nothing was redacted")
	}
	for _, key := range []string{secret.Reveal(), private.Reveal()} {
		_, b64, _ := strings.Cut(key, "_")
		raw, err := base64.StdEncoding.DecodeString(b64)
		if err != nil {
			t.Fatal(err)
		}
		inDecimal := strings.Trim(fmt.Sprintf("%d", raw[:4]), "[]")
		inGo := strings.TrimSuffix(fmt.Sprintf("%#v", raw[:4]), "}")
		inGo = inGo[strings.Index(inGo, "{")+1:]
		for _, form := range []string{b64, string(raw), fmt.Sprintf("%x", raw[:4]), fmt.Sprintf("%X", raw[:4]), inDecimal, inGo} {
			if strings.Contains(printed, form) {
				t.Errorf("a key shows as %q", form)
			}
		}
	}
}

func TestSecretEqual(t *testing.T) {
	a, b := webhook.NewSecret(), webhook.NewSecret()
	again, err := webhook.ParseSecret(a.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if !a.Equal(again) || a.Equal(b) || a.Equal(webhook.Secret{}) || !(webhook.Secret{}).Equal(webhook.Secret{}) {
		t.Error("Equal is wrong")
	}
}
