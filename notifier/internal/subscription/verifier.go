package subscription

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hirewire.dev/notifier/internal/access"
)

// How the ownership challenge is repeated: at once, then after each of retryAfter, then not again until it is asked for. A
// subscription that was disabled for failing is probed with it, ever more rarely, as long as it stays so.
var (
	retryAfter = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute}
	probeAfter = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}
)

const (
	challengeTimeout = 20 * time.Second
	challengeLease   = 30 * time.Second
	challengesAtOnce = 8
	storeTimeout     = 3 * time.Second
	lookEvery        = time.Second
)

// Verifier sends the challenges that are due, for all replicas together.
type Verifier struct {
	service *Service
	log     *slog.Logger
	wake    chan struct{}
}

// NewVerifier makes a Verifier for the service's subscriptions.
func NewVerifier(s *Service, log *slog.Logger) *Verifier {
	return &Verifier{s, log, make(chan struct{}, 1)}
}

// Wake makes the Verifier look for due challenges now.
func (v *Verifier) Wake() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// Run sends due challenges until ctx ends. What is under way then is left to its lease.
func (v *Verifier) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, challengesAtOnce)
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		v.claim(ctx, slots, &running)
		select {
		case <-ctx.Done():
			return nil
		case <-v.wake:
		case <-ticker.C:
		}
	}
}

// claim takes what is due, as far as there are free slots.
func (v *Verifier) claim(ctx context.Context, slots chan struct{}, running *sync.WaitGroup) {
	free := cap(slots) - len(slots)
	if free == 0 {
		return
	}
	claiming, cancel := outlive(ctx)
	defer cancel()
	due, err := v.service.store.ClaimChallenges(claiming, v.service.now(), challengeLease, free)
	if err != nil {
		if ctx.Err() == nil {
			v.log.WarnContext(ctx, "due challenges could not be claimed", "error", err)
		}
		return
	}
	for _, r := range due {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots; v.Wake() }()
			if err := v.service.tryChallenge(ctx, r); err != nil && ctx.Err() == nil {
				v.log.WarnContext(ctx, "challenge could not be decided", "subscription_id", r.ID, "error", err)
			}
		})
	}
}

// tryChallenge sends a claimed challenge and records what came of it.
func (s *Service) tryChallenge(ctx context.Context, r Record) error {
	err := s.challenge(ctx, r)
	storing, cancel := outlive(ctx)
	defer cancel()
	if err == nil {
		_, err = s.passed(storing, byNotifier, r)
		return err
	}
	if refused, ok := errors.AsType[*ChallengeError](err); ok {
		next, reason := r.afterFailure(refused.Reason, s.now())
		return s.store.PostponeChallenge(storing, r.ID, next, reason)
	}
	if ctx.Err() != nil {
		// This process stops: the next one need not wait for the lease.
		now := r.Challenge
		now.DueAt = s.now()
		return s.store.PostponeChallenge(storing, r.ID, now, r.StatusReason)
	}
	return err
}

// outlive is a context for what is to be stored although ctx may have ended.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
}

func (s *Service) challenge(ctx context.Context, r Record) error {
	ctx, cancel := context.WithTimeout(ctx, challengeTimeout)
	defer cancel()
	return s.challenger.Challenge(ctx, r)
}

// afterFailure says when to try again, and what the owner reads meanwhile.
func (r Record) afterFailure(why string, now time.Time) (Challenge, string) {
	c := r.Challenge
	c.Tries++
	if r.Status == Disabled {
		c.DueAt = now.Add(probeAfter[min(c.Tries, len(probeAfter)-1)])
		return c, r.StatusReason
	}
	reason := fmt.Sprintf("the receiver did not pass the challenge (try %d): %s", c.Tries, why)
	if c.Tries > len(retryAfter) {
		c.DueAt = time.Time{}
		return c, reason + "; it is not tried again until VerifySubscription asks for it"
	}
	c.DueAt = now.Add(retryAfter[c.Tries-1])
	return c, reason
}

// passed records that the receiver at the URL of r answered the challenge.
func (s *Service) passed(ctx context.Context, by access.Caller, r Record) (Record, error) {
	return s.update(ctx, by, r.ID, "VerifySubscription", func(now *Record, at time.Time) error {
		if now.URL != r.URL {
			return &ChallengeError{"its URL was changed meanwhile"}
		}
		was := *now
		now.verified(at)
		if now.Status == was.Status && !was.VerifiedAt.IsZero() {
			return errUnchanged
		}
		return nil
	})
}

// Verify sends the challenge now and answers when it is decided.
//
// Errors: ErrNotFound; *ChallengeError when the receiver did not answer it.
func (s *Service) Verify(ctx context.Context, by access.Caller, id string) (Record, error) {
	r, err := s.Get(ctx, by, id)
	if err != nil {
		return Record{}, err
	}
	if err := s.challenge(ctx, r); err != nil {
		return Record{}, fmt.Errorf("verify subscription: %w", err)
	}
	return s.passed(ctx, by, r)
}
