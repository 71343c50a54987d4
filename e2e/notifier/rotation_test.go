package notifier_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"hirewire.dev/e2e/mockbank"
	"hirewire.dev/e2e/programs"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

var rotations = flag.Int("rotations", 1000, "how many secrets are rotated under load, on each engine")

// rotate puts a new secret in force and gives it.
func (r *receiver) rotate(t testing.TB, n *programs.Notifier, overlap time.Duration) webhook.Secret {
	t.Helper()
	answer, err := n.Subscriptions.RotateSecret(t.Context(), &notifierv1.RotateSecretRequest{Id: r.id, Overlap: durationpb.New(overlap)})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := webhook.ParseSecret(answer.GetSecret())
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// A bank learns of each new secret a little later than it is in force, and trusts the old ones for as long as a replica may
// sign with them alone: 5 seconds. It never gets a message that is signed with none of them.
func TestSecretsRotateUnderLoadWithoutOneFailure(t *testing.T) {
	engines(t, func(t *testing.T, e *engine) {
		t.Parallel()
		const learn, pace, everywhere = 5 * time.Millisecond, 15 * time.Millisecond, 5 * time.Second
		r := e.subscribe(t, mockbank.Config{}, schedule(0))
		load := programs.StartLoad(t, 150, func(i int) *notifierv1.Event { return r.event(t, fmt.Sprintf("emp-%d", i), 1) }, e.replicas...)

		trusted, ends := []webhook.Secret{r.Secret}, []time.Time{{}} // newest first; when each was replaced
		began := time.Now()
		for i := range *rotations {
			secret := r.rotate(t, e.replicas[i%len(e.replicas)], time.Hour)
			time.Sleep(rand.N(learn)) // the bank knows the old ones alone
			ends[0] = time.Now()
			trusted, ends = append([]webhook.Secret{secret}, trusted...), append([]time.Time{{}}, ends...)
			for last := len(ends) - 1; time.Since(ends[last]) > everywhere && last > 0; last-- {
				trusted, ends = trusted[:last], ends[:last]
			}
			r.Trust(trusted...)
			time.Sleep(rand.N(pace - learn)) // and now the new one, too
		}
		took := time.Since(began)
		published := load.Stop(t)
		r.awaitBalance(t, &notifierv1.Balance{Delivered: int64(len(published))})

		requests := r.Requests()
		unverified, byNew, byOld := 0, 0, 0
		for _, request := range requests {
			switch {
			case !request.Valid:
				unverified++
			case request.SignedBy[0] == 0:
				byNew++
			default:
				byOld++
			}
		}
		t.Logf("%d rotations in %s; %d messages, %d signed with the newest secret that the bank knew, %d with older ones alone",
			*rotations, took.Round(time.Millisecond), len(requests), byNew, byOld)
		if unverified > 0 {
			t.Errorf("%d of %d messages could not be verified", unverified, len(requests))
		}
		if len(requests) != len(published) || len(requests) < *rotations/2 {
			t.Errorf("%d messages came of %d events", len(requests), len(published))
		}
		if byNew == 0 {
			t.Error("no message was signed with the newest secret")
		}
	})
}

// A secret that leaked is revoked: within 5 seconds no replica signs with it any more, whatever is being tried again.
func TestRevokedSecretSignsNothingOnAnyReplica(t *testing.T) {
	e := startEngine(t, programs.PostgresURL(t))
	r := e.subscribe(t, mockbank.Config{}, schedule(0))
	leaked := r.Secret
	load := programs.StartLoad(t, 100, func(i int) *notifierv1.Event { return r.event(t, fmt.Sprintf("emp-%d", i), 1) }, e.replicas...)
	// Each replica has sent by the old secret.
	r.awaitCount(t, 50, 10*time.Second)

	secret := r.rotate(t, e.replicas[0], 0)
	revoked := time.Now()
	r.Trust(secret, leaked)
	time.Sleep(6 * time.Second)
	published := load.Stop(t)
	r.awaitBalance(t, &notifierv1.Balance{Delivered: int64(len(published))})
	var last time.Duration
	after := 0
	for _, request := range r.Requests() {
		since := request.At.Sub(revoked)
		if since < 0 {
			continue
		}
		after++
		for _, by := range request.SignedBy {
			if by == 1 {
				last = max(last, since)
			}
		}
	}
	t.Logf("the last message with the revoked secret came %s after it was revoked; %d came after", last.Round(time.Millisecond), after)
	if last > 5*time.Second {
		t.Errorf("a message was signed with the revoked secret after %s", last)
	}
	if after < 300 {
		t.Errorf("only %d messages came after it was revoked", after)
	}
}

// A retry of a message that was first sent before the rotation carries the new signature too.
func TestRetryIsSignedAnew(t *testing.T) {
	engines(t, func(t *testing.T, e *engine) {
		cfg, repair := failingBank()
		r := e.subscribe(t, cfg, often)
		event := r.event(t, "emp-retry", 1)
		e.Publish(t, event)
		r.awaitCount(t, 2, 10*time.Second)
		secret := r.rotate(t, e.Notifier, 0)
		r.settled(t)
		time.Sleep(50 * time.Millisecond) // one attempt may be under way
		r.Trust(secret)
		before := r.Count()
		repair()
		r.awaitBalance(t, &notifierv1.Balance{Delivered: 1})
		requests := r.Requests()
		for _, request := range requests[before:] {
			if !request.Valid {
				t.Errorf("attempt %d, after the rotation, is signed with the revoked secret", request.Nth)
			}
		}
		if first := requests[0]; requests[len(requests)-1].Body != first.Body || requests[len(requests)-1].ID != first.ID {
			t.Error("the retry has another id or body")
		}
	})
}
