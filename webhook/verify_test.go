package webhook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hirewire.dev/webhook"
)

const goodID = "msg_p5jXN8AQM9LWM0D4loKWxJek"

var goodBody = []byte(`{"type":"employee.created","timestamp":"2026-11-20T09:00:00Z","data":{"a":1}}`)

// request is what a test sends, to be bent before it is verified.
type request struct {
	header http.Header
	body   []byte
}

func (r *request) set(name, value string) { r.header.Set(name, value) }

func (r *request) signature() string { return r.header.Get("webhook-signature") }

func signed(tb testing.TB, at time.Time, body []byte, keys ...webhook.SigningKey) *request {
	tb.Helper()
	signer, err := webhook.NewSigner(keys...)
	if err != nil {
		tb.Fatal(err)
	}
	r := &request{header: http.Header{}, body: body}
	r.set("webhook-id", goodID)
	r.set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	r.set("webhook-signature", signer.Sign(goodID, at, body))
	return r
}

func repeat(text string, n int) string {
	return strings.TrimSuffix(strings.Repeat(text+" ", n), " ")
}

func hmacOver(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// badRequests bends a good request in all the ways that must be refused with
// 401; the receiver's tests send the same over TLS.
func badRequests(secret webhook.Secret, private webhook.PrivateKey) map[string]struct {
	reason webhook.Reason
	bend   func(*request)
} {
	type bad = struct {
		reason webhook.Reason
		bend   func(*request)
	}
	other := webhook.NewSecret()
	resign := func(r *request, key webhook.SigningKey) {
		signer, _ := webhook.NewSigner(key)
		unix, _ := strconv.ParseInt(r.header.Get("webhook-timestamp"), 10, 64)
		r.set("webhook-signature", signer.Sign(goodID, time.Unix(unix, 0), r.body))
	}
	stamp := func(value string) func(*request) {
		return func(r *request) { r.set("webhook-timestamp", value) }
	}
	id := func(value string) func(*request) {
		return func(r *request) { r.set("webhook-id", value) }
	}
	signature := func(f func(string) string) func(*request) {
		return func(r *request) { r.set("webhook-signature", f(r.signature())) }
	}
	text := func(s string) func(string) string { return func(string) string { return s } }
	return map[string]bad{
		"no headers": {webhook.ReasonMissingHeader, func(r *request) {
			r.header.Del("webhook-id")
			r.header.Del("webhook-timestamp")
			r.header.Del("webhook-signature")
		}},
		"no id":           {webhook.ReasonMissingHeader, func(r *request) { r.header.Del("webhook-id") }},
		"no timestamp":    {webhook.ReasonMissingHeader, func(r *request) { r.header.Del("webhook-timestamp") }},
		"no signature":    {webhook.ReasonMissingHeader, func(r *request) { r.header.Del("webhook-signature") }},
		"empty id":        {webhook.ReasonMissingHeader, id("")},
		"two ids":         {webhook.ReasonDuplicateHeader, func(r *request) { r.header.Add("webhook-id", goodID) }},
		"two timestamps":  {webhook.ReasonDuplicateHeader, func(r *request) { r.header.Add("webhook-timestamp", "1614265330") }},
		"two signatures":  {webhook.ReasonDuplicateHeader, func(r *request) { r.header.Add("webhook-signature", r.signature()) }},
		"id of 65":        {webhook.ReasonMalformedID, id(strings.Repeat("a", 65))},
		"id with a dot":   {webhook.ReasonMalformedID, id("msg.1")},
		"id with a space": {webhook.ReasonMalformedID, id("msg 1")},
		"id with a quote": {webhook.ReasonMalformedID, id("msg'1")},
		"id with <":       {webhook.ReasonMalformedID, id("<msg>")},
		"id with ü":       {webhook.ReasonMalformedID, id("müsg")},
		"ids in a list":   {webhook.ReasonMalformedID, id(goodID + ", " + goodID)},
		"id changed":      {webhook.ReasonNoMatch, id(goodID + "x")},

		"timestamp hello":          {webhook.ReasonMalformedTimestamp, stamp("hello")},
		"timestamp 1.0":            {webhook.ReasonMalformedTimestamp, stamp("1614265330.0")},
		"timestamp in ms":          {webhook.ReasonMalformedTimestamp, stamp(strconv.FormatInt(time.Now().UnixMilli(), 10))},
		"timestamp with zeros":     {webhook.ReasonMalformedTimestamp, stamp("0" + strconv.FormatInt(time.Now().Unix(), 10))},
		"timestamp negative":       {webhook.ReasonMalformedTimestamp, stamp("-161426533")},
		"timestamp with a plus":    {webhook.ReasonMalformedTimestamp, stamp("+161426533")},
		"timestamp in hexadecimal": {webhook.ReasonMalformedTimestamp, stamp("0x65aabbcc")},
		"timestamp in Arabic":      {webhook.ReasonMalformedTimestamp, stamp("١٦١٤٢٦٥٣٣٠")},
		"timestamp of nine digits": {webhook.ReasonMalformedTimestamp, stamp("161426533")},
		"301 s old": {webhook.ReasonTooOld, func(r *request) {
			stamp(strconv.FormatInt(time.Now().Add(-302*time.Second).Unix(), 10))(r)
			resign(r, secret)
		}},
		"301 s ahead": {webhook.ReasonTooNew, func(r *request) {
			stamp(strconv.FormatInt(time.Now().Add(302*time.Second).Unix(), 10))(r)
			resign(r, secret)
		}},
		"timestamp changed": {webhook.ReasonNoMatch, stamp(strconv.FormatInt(time.Now().Add(-10*time.Second).Unix(), 10))},

		"one bit flipped": {webhook.ReasonNoMatch, func(r *request) { r.body = bytes.Clone(r.body); r.body[10] ^= 1 }},
		"keys reordered": {webhook.ReasonNoMatch, func(r *request) {
			r.body = []byte(`{"timestamp":"2026-11-20T09:00:00Z","type":"employee.created","data":{"a":1}}`)
		}},
		"re-encoded":       {webhook.ReasonNoMatch, func(r *request) { r.body = bytes.Replace(r.body, []byte("a"), []byte(`\u0061`), 1) }},
		"trailing newline": {webhook.ReasonBodyChanged, func(r *request) { r.body = append(bytes.Clone(r.body), '\n') }},
		"pretty-printed":   {webhook.ReasonBodyChanged, func(r *request) { r.body = bytes.ReplaceAll(r.body, []byte(","), []byte(",\n  ")) }},
		"another secret":   {webhook.ReasonNoMatch, func(r *request) { resign(r, other) }},
		"the empty secret": {webhook.ReasonNoMatch, func(r *request) { resign(r, webhook.RawSecret(nil)) }},
		"all-zero MAC":     {webhook.ReasonNoMatch, signature(text("v1," + base64.StdEncoding.EncodeToString(make([]byte, 32))))},
		"v1 without text":  {webhook.ReasonMalformedSignature, signature(text("v1,"))},
		"v1 cut":           {webhook.ReasonMalformedSignature, signature(func(s string) string { return s[:8] })},
		"no version":       {webhook.ReasonMalformedSignature, signature(func(s string) string { return s[3:] })},
		"hexadecimal": {webhook.ReasonMalformedSignature, signature(func(s string) string {
			raw, _ := base64.StdEncoding.DecodeString(s[3:])
			return "v1," + hex.EncodeToString(raw)
		})},
		"no padding":        {webhook.ReasonMalformedSignature, signature(func(s string) string { return strings.TrimRight(s, "=") })},
		"V1":                {webhook.ReasonUnknownVersion, signature(func(s string) string { return "V1" + s[2:] })},
		"v2":                {webhook.ReasonUnknownVersion, signature(func(s string) string { return "v2" + s[2:] })},
		"v1=":               {webhook.ReasonMalformedSignature, signature(func(s string) string { return "v1=" + s[3:] })},
		"v1a garbage":       {webhook.ReasonMalformedSignature, signature(text("v1a,garbage"))},
		"v1a of a stranger": {webhook.ReasonNoMatch, func(r *request) { resign(r, webhook.NewPrivateKey()) }},
		"v1 with the public key as secret": {webhook.ReasonNoMatch, func(r *request) {
			raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(private.Public().String(), "whpk_"))
			resign(r, webhook.RawSecret(raw))
		}},
		"v1 with the key's text as secret": {webhook.ReasonNoMatch, func(r *request) {
			r.set("webhook-signature", "v1,"+hmacOver([]byte(secret.Reveal()), goodID+"."+r.header.Get("webhook-timestamp")+"."+string(r.body)))
		}},
		"list with commas":  {webhook.ReasonMalformedSignature, signature(func(s string) string { return s + "," + s })},
		"list with tabs":    {webhook.ReasonMalformedSignature, signature(func(s string) string { return s + "\t" + s })},
		"good one as 17th":  {webhook.ReasonTooManySignatures, signature(func(s string) string { return repeat("v2,x", 16) + " " + s })},
		"20,000 signatures": {webhook.ReasonTooManySignatures, signature(func(s string) string { return repeat(s, 20000) })},
		"spaces only":       {webhook.ReasonMalformedSignature, signature(text("   "))},
	}
}

func TestVerifyRefuses(t *testing.T) {
	secret, private := webhook.NewSecret(), webhook.NewPrivateKey()
	v := webhook.Verifier{Secrets: []webhook.Secret{secret}, PublicKeys: []webhook.PublicKey{private.Public()}}
	for name, tt := range badRequests(secret, private) {
		t.Run(name, func(t *testing.T) {
			r := signed(t, time.Now(), goodBody, secret)
			tt.bend(r)
			got, err := v.Verify(r.header, r.body)
			if webhook.ReasonOf(err) != tt.reason {
				t.Errorf("Verify = %+v, %v; want %s", got, err, tt.reason)
			}
		})
	}
}

func TestVerifyAccepts(t *testing.T) {
	secret, old, private := webhook.NewSecret(), webhook.NewSecret(), webhook.NewPrivateKey()
	v := webhook.Verifier{
		Secrets:    []webhook.Secret{{}, secret, old},
		PublicKeys: []webhook.PublicKey{{}, webhook.NewPrivateKey().Public(), private.Public()},
	}
	tests := map[string]struct {
		keys []webhook.SigningKey
		bend func(*request)
		kind webhook.Kind
	}{
		"new secret":          {[]webhook.SigningKey{secret}, nil, "v1"},
		"old secret":          {[]webhook.SigningKey{old}, nil, "v1"},
		"both":                {[]webhook.SigningKey{webhook.NewSecret(), old}, nil, "v1"},
		"Ed25519":             {[]webhook.SigningKey{private}, nil, "v1a"},
		"Ed25519 and unknown": {[]webhook.SigningKey{webhook.NewSecret(), private}, nil, "v1a"},
		"before an unknown version": {[]webhook.SigningKey{secret}, func(r *request) {
			r.set("webhook-signature", r.signature()+" v2,x")
		}, "v1"},
		"after 15 others": {[]webhook.SigningKey{secret}, func(r *request) {
			r.set("webhook-signature", repeat("v2,x", 15)+" "+r.signature())
		}, "v1"},
		"after malformed ones": {[]webhook.SigningKey{secret}, func(r *request) {
			r.set("webhook-signature", "v1, v1a,xx nonsense "+r.signature())
		}, "v1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			at := time.Now()
			r := signed(t, at, goodBody, tt.keys...)
			if tt.bend != nil {
				tt.bend(r)
			}
			got, err := v.Verify(r.header, r.body)
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != goodID || got.Kind != tt.kind || got.SentAt.Unix() != at.Unix() {
				t.Errorf("Verify = %+v", got)
			}
		})
	}
}

func TestVerifyTolerance(t *testing.T) {
	secret := webhook.NewSecret()
	tests := []struct {
		tolerance, skew time.Duration
		want            webhook.Reason
	}{
		{0, -299 * time.Second, ""},
		{0, 299 * time.Second, ""},
		{0, -300 * time.Second, ""},
		{0, 300 * time.Second, ""},
		{0, -301 * time.Second, webhook.ReasonTooOld},
		{0, 301 * time.Second, webhook.ReasonTooNew},
		{time.Minute, -61 * time.Second, webhook.ReasonTooOld},
		{time.Hour, -59 * time.Minute, ""},
	}
	for _, tt := range tests {
		t.Run(tt.skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(10 * 365 * 24 * time.Hour) // a bubble's clock starts with nine digits
				v := webhook.Verifier{Secrets: []webhook.Secret{secret}, Tolerance: tt.tolerance}
				r := signed(t, time.Now().Add(tt.skew), goodBody, secret)
				if _, err := v.Verify(r.header, r.body); webhook.ReasonOf(err) != tt.want {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			})
		})
	}
}

func TestVerifierWithoutKeysRefuses(t *testing.T) {
	r := signed(t, time.Now(), goodBody, webhook.NewSecret(), webhook.NewPrivateKey())
	for _, v := range []webhook.Verifier{{}, {Secrets: []webhook.Secret{{}}, PublicKeys: []webhook.PublicKey{{}}}} {
		if _, err := v.Verify(r.header, r.body); err == nil {
			t.Error("verified without a key")
		}
	}
}

func TestVerifyLeavesTheBodyAlone(t *testing.T) {
	secret := webhook.NewSecret()
	r := signed(t, time.Now(), goodBody, webhook.NewSecret())
	body := append(bytes.Clone(goodBody), "  x"...)[:len(goodBody)+2]
	before := bytes.Clone(body[:cap(body)])
	v := webhook.Verifier{Secrets: []webhook.Secret{secret}}
	if _, err := v.Verify(r.header, body); err == nil {
		t.Fatal("verified")
	}
	if !bytes.Equal(before, body[:cap(body)]) {
		t.Error("the body's memory was written to")
	}
}

func TestSignRefuses(t *testing.T) {
	signer, err := webhook.NewSigner(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "a.b", "a b", strings.Repeat("a", 65)} {
		if got := signer.Sign(id, time.Now(), nil); got != "" {
			t.Errorf("signed id %q: %s", id, got)
		}
	}
	keys := make([]webhook.SigningKey, 17)
	for i := range keys {
		keys[i] = webhook.NewSecret()
	}
	for name, keys := range map[string][]webhook.SigningKey{
		"none": nil, "nil": {nil}, "zero secret": {webhook.Secret{}}, "zero key": {webhook.PrivateKey{}}, "17": keys,
	} {
		if _, err := webhook.NewSigner(keys...); err == nil {
			t.Errorf("NewSigner took %s", name)
		}
	}
	if _, err := webhook.NewSigner(keys[:16]...); err != nil {
		t.Errorf("NewSigner refused 16 keys: %v", err)
	}
}
