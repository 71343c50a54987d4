package webhook_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"hirewire.dev/webhook"
)

// eventBody is a typical event of about 500 bytes.
var eventBody = []byte(`{"id":"` + goodID + `","type":"employee.created","timestamp":"2026-11-20T09:00:00.123456Z","data":{"employee":{` +
	`"id":"emp_01J8Z3N4Y5X6W7V8T9S0R1Q2P3","employee_number":"E-10042","given_name":"Zoë","family_name":"Østergård","email":"zoe@example.com",` +
	`"job_title":"Engineer","department":"Platform","hire_date":"2026-12-01","country":"DK","currency":"DKK","status":"ACTIVE","version":1,` +
	`"created_at":"2026-11-20T09:00:00.123456Z","updated_at":"2026-11-20T09:00:00.123456Z"}}}`)

func BenchmarkSign(b *testing.B) {
	for name, key := range map[string]webhook.SigningKey{"v1": webhook.NewSecret(), "v1a": webhook.NewPrivateKey()} {
		b.Run(name, func(b *testing.B) {
			signer, err := webhook.NewSigner(key)
			if err != nil {
				b.Fatal(err)
			}
			at, dst := time.Now(), make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				dst = signer.AppendSign(dst[:0], goodID, at, eventBody)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	secret, old, private := webhook.NewSecret(), webhook.NewSecret(), webhook.NewPrivateKey()
	v := webhook.Verifier{Secrets: []webhook.Secret{secret, old}, PublicKeys: []webhook.PublicKey{private.Public()}}
	for name, keys := range map[string][]webhook.SigningKey{
		"v1": {secret}, "v1_old": {old}, "v1a": {private}, "forged": {webhook.NewSecret()},
	} {
		b.Run(name, func(b *testing.B) {
			r := signed(b, time.Now(), eventBody, keys...)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(r.header, r.body); (err != nil) != (name == "forged") {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseEvent(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(eventBody)))
	for b.Loop() {
		if _, err := webhook.ParseEvent(eventBody); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReceive is the handler alone: no network, no store.
func BenchmarkReceive(b *testing.B) {
	secret := webhook.NewSecret()
	receiver, err := webhook.NewReceiver(webhook.ReceiverConfig{
		Secrets: []webhook.Secret{secret},
		Store:   webhook.StoreFunc(func(context.Context, webhook.Delivery) error { return nil }),
	})
	if err != nil {
		b.Fatal(err)
	}
	r := signed(b, time.Now(), eventBody, secret)
	r.set("content-type", "application/json")
	req := httptest.NewRequest(http.MethodPost, "/", nil)
	req.Header = r.header
	req.ContentLength = int64(len(eventBody))
	body := bytes.NewReader(nil)
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(eventBody)
		req.Body = nopCloser{body}
		w := discard{header: http.Header{}}
		receiver.ServeHTTP(&w, req)
		if w.status != http.StatusOK {
			b.Fatal(w.status)
		}
	}
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// BenchmarkMismatchTiming measures whether the place of the first wrong
// character of a signature shows in the time that refusing it takes. It reports
// the difference of the means and its standard error, in nanoseconds: |diff|
// should stay within a few standard errors. Run it with -benchtime 1000000x.
func BenchmarkMismatchTiming(b *testing.B) {
	secret := webhook.NewSecret()
	v := webhook.Verifier{Secrets: []webhook.Secret{secret}}
	bend := func(at int) *request {
		r := signed(b, time.Now(), goodBody, secret)
		text := []byte(r.signature())
		if text[at] == 'A' {
			text[at] = 'E'
		} else {
			text[at] = 'A'
		}
		r.set("webhook-signature", string(text))
		return r
	}
	first, last := bend(3), bend(3+41)
	samples := [2][]float64{make([]float64, 0, b.N), make([]float64, 0, b.N)}
	for i := range b.N {
		for j := range 2 {
			k := (i + j) % 2 // take turns in going first
			r := first
			if k == 1 {
				r = last
			}
			start := time.Now()
			_, err := v.Verify(r.header, r.body)
			took := time.Since(start)
			if err == nil {
				b.Fatal("verified")
			}
			samples[k] = append(samples[k], float64(took))
		}
	}
	if b.N < 1000 {
		return
	}
	var mean, variance [2]float64
	for k := range samples {
		slices.Sort(samples[k])
		kept := samples[k][:len(samples[k])*9/10] // without what the scheduler added
		for _, x := range kept {
			mean[k] += x / float64(len(kept))
		}
		for _, x := range kept {
			variance[k] += (x - mean[k]) * (x - mean[k]) / float64(len(kept)) / float64(len(kept))
		}
	}
	b.ReportMetric(mean[0]-mean[1], "diff-ns")
	b.ReportMetric(math.Sqrt(variance[0]+variance[1]), "stderr-ns")
}

// 20,000 signatures cost less than 5 ms to refuse, however they look.
func TestManySignaturesAreCheap(t *testing.T) {
	secret := webhook.NewSecret()
	v := webhook.Verifier{Secrets: []webhook.Secret{secret}, PublicKeys: []webhook.PublicKey{webhook.NewPrivateKey().Public()}}
	r := signed(t, time.Now(), goodBody, webhook.NewSecret())
	for i, entry := range []string{r.signature(), "v1a," + strings.Repeat("A", 86) + "==", "x", ""} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			r.set("webhook-signature", strings.Repeat(entry+" ", 20_000)+"x")
			best := time.Hour
			for range 5 {
				start := time.Now()
				if _, err := v.Verify(r.header, r.body); webhook.ReasonOf(err) != webhook.ReasonTooManySignatures {
					t.Fatal(err)
				}
				best = min(best, time.Since(start))
			}
			if best > 5*time.Millisecond {
				t.Errorf("took %s", best)
			}
		})
	}
}
