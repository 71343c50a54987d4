package subscription

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hirewire.dev/webhook"
)

// Challenger asks a receiver whether it owns its URL.
type Challenger interface {
	// Challenge sends the ownership challenge once, signed with the subscription's keys.
	//
	// Errors: *ChallengeError when the receiver did not answer it; any other when it could not be asked.
	Challenge(ctx context.Context, r Record) error
}

// Poster POSTs a signed body to a target's URL, once. It does not look at what the answer means.
type Poster interface {
	// Post answers with the status and the beginning of the body. The error is for people: it holds no secret and no query.
	Post(ctx context.Context, t *Target, id string, body []byte) (status int, answer []byte, err error)
}

// Prover is the Challenger that asks over HTTP.
type Prover struct {
	poster Poster
	opener opener
	newID  func(prefix string) string
	now    func() time.Time
}

// NewProver makes a Prover that sends with the poster; it shares the catalog's way of opening keys.
func NewProver(poster Poster, c *Catalog, newID func(prefix string) string) *Prover {
	return &Prover{poster, c.opener, newID, c.now}
}

var _ Challenger = (*Prover)(nil)

// Challenge implements Challenger.
func (p *Prover) Challenge(ctx context.Context, r Record) error {
	t, _, err := p.opener.target(ctx, r, p.now())
	if err != nil {
		return err
	}
	if t.Signer == nil {
		return errors.New("the signing keys do not open")
	}
	challenge := webhook.NewChallenge()
	id := p.newID("evt")
	body, err := json.Marshal(map[string]any{
		"id": id, "type": webhook.TypeVerification, "timestamp": p.now(),
		"data": map[string]string{"challenge": challenge, "subscription_id": r.ID},
	})
	if err != nil {
		return fmt.Errorf("write challenge: %w", err)
	}
	status, answer, err := p.poster.Post(ctx, t, id, body)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return &ChallengeError{err.Error()}
	case status < 200 || status > 299:
		return &ChallengeError{fmt.Sprintf("it answered with the status %d, and 200 was expected", status)}
	}
	return checkAnswer(t, challenge, answer)
}

// checkAnswer accepts what any key in force answers: during a rotation the receiver may hold any of them. A receiver that holds
// only a public key cannot sign; there the echo has to do, which it gives for signed requests alone.
func checkAnswer(t *Target, challenge string, answer []byte) error {
	for _, secret := range t.Secrets {
		if webhook.CheckChallengeResponse(secret, challenge, answer) == nil {
			return nil
		}
	}
	if t.Signature == V1A {
		var echo struct {
			Challenge string `json:"challenge"`
		}
		if json.Unmarshal(answer, &echo) == nil && echo.Challenge == challenge {
			return nil
		}
		return &ChallengeError{`its answer was not {"challenge": …} with the challenge that was sent`}
	}
	return &ChallengeError{`its answer was not {"challenge": …, "response": "v1,…"} made with the subscription's secret`}
}
