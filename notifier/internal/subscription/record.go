package subscription

import (
	"maps"
	"slices"
	"time"
)

// Record is a subscription with what only the notifier knows of it.
type Record struct {
	Subscription
	// VerifiedAt is when the receiver at URL last answered the challenge; zero: never, or not since the URL changed.
	VerifiedAt time.Time
	// Challenge is the next one that is due.
	Challenge Challenge
	// Keys sign: the one that was made last first, then older ones that still do.
	Keys []Key
	// DeletedAt ends it; zero: it lives.
	DeletedAt time.Time
}

// Challenge is when to send the ownership challenge, or, to one that was disabled for failing, the probe.
type Challenge struct {
	// DueAt is when; zero: not at all.
	DueAt time.Time
	// Tries is how many have been sent in this row.
	Tries int
	// Token fences: whoever claims a due one gets a new token, and only the latest may say how it went.
	Token int64
}

// Key signs. The secret itself is sealed.
type Key struct {
	// ID is `sgk_` and a ULID: what the sealed secret is bound to, together with the subscription's id.
	ID        string
	Kind      Signature
	SealKey   string // which key Sealed opens with
	Sealed    []byte
	PublicKey string // whpk_…, for V1A
	CreatedAt time.Time
	// ExpiresAt is when it stops signing; zero for the newest.
	ExpiresAt time.Time
}

// InForce says whether the key signs at the time.
func (k Key) InForce(at time.Time) bool { return k.ExpiresAt.IsZero() || at.Before(k.ExpiresAt) }

// MaxOldKeys is how many keys may sign beside the newest. Rotating once more ends the oldest.
const MaxOldKeys = 10

// Clone is a copy that shares nothing.
func (r Record) Clone() Record {
	r.EventTypes = slices.Clone(r.EventTypes)
	r.Schedule = slices.Clone(r.Schedule)
	r.Labels = maps.Clone(r.Labels)
	r.Keys = slices.Clone(r.Keys)
	return r
}

// Subject is what a key's secret is sealed for: it opens for no other subscription, and in no other row.
func Subject(subscriptionID, keyID string) string { return subscriptionID + "/" + keyID }

// change sets what follows from any change.
func (r *Record) change(now time.Time) {
	r.Revision++
	r.UpdatedAt = now
}

// hold stops delivering.
func (r *Record) hold(s Status, reason string) {
	r.Status, r.StatusReason = s, reason
	r.Challenge = Challenge{Token: r.Challenge.Token + 1}
	r.FailingSince = time.Time{}
}

// open starts delivering, if the receiver has shown that it owns the URL, or else asks it to.
func (r *Record) open(now time.Time) {
	r.FailingSince = time.Time{}
	if r.VerifiedAt.IsZero() {
		r.Status, r.StatusReason = PendingVerification, "the receiver has not answered the challenge yet"
		r.Challenge = Challenge{DueAt: now, Token: r.Challenge.Token + 1}
		return
	}
	r.Status, r.StatusReason = Active, ""
	r.Challenge = Challenge{Token: r.Challenge.Token + 1}
}

// verified takes over that the receiver at URL answered the challenge.
func (r *Record) verified(now time.Time) {
	r.VerifiedAt = now
	if r.Status == PendingVerification || r.Status == Disabled {
		r.open(now)
	}
}

// rotate puts k in force. The others sign until the overlap ends.
func (r *Record) rotate(k Key, overlap time.Duration, now time.Time) {
	keys := []Key{k}
	for _, old := range r.Keys {
		if !old.InForce(now) {
			continue
		}
		if until := now.Add(overlap); old.ExpiresAt.IsZero() || old.ExpiresAt.After(until) {
			old.ExpiresAt = until
		}
		if old.InForce(now) && len(keys) <= MaxOldKeys {
			keys = append(keys, old)
		}
	}
	r.Keys = keys
}
