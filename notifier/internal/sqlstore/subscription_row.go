package sqlstore

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hirewire.dev/notifier/internal/subscription"
)

// subscriptionColumns are the columns of subscriptionRow, for SELECT.
const subscriptionColumns = `id, owner, name, description, contact, url, event_types, filter, status, status_reason, payload,
	format, max_in_flight, rate_per_second, schedule, ordering, signature, labels, revision, created_at, updated_at, verified_at,
	challenge_due_at, challenge_tries, challenge_token, failing_since, deleted_at`

type subscriptionRow struct {
	ID             string       `db:"id"`
	Owner          string       `db:"owner"`
	Name           string       `db:"name"`
	Description    string       `db:"description"`
	Contact        string       `db:"contact"`
	URL            string       `db:"url"`
	EventTypes     string       `db:"event_types"`
	Filter         string       `db:"filter"`
	Status         string       `db:"status"`
	StatusReason   string       `db:"status_reason"`
	Payload        string       `db:"payload"`
	Format         string       `db:"format"`
	MaxInFlight    int          `db:"max_in_flight"`
	RatePerSecond  int          `db:"rate_per_second"`
	Schedule       string       `db:"schedule"`
	Ordering       string       `db:"ordering"`
	Signature      string       `db:"signature"`
	Labels         string       `db:"labels"`
	Revision       int64        `db:"revision"`
	Changed        int64        `db:"changed"`
	CreatedAt      time.Time    `db:"created_at"`
	UpdatedAt      time.Time    `db:"updated_at"`
	VerifiedAt     sql.NullTime `db:"verified_at"`
	ChallengeDueAt sql.NullTime `db:"challenge_due_at"`
	ChallengeTries int          `db:"challenge_tries"`
	ChallengeToken int64        `db:"challenge_token"`
	FailingSince   sql.NullTime `db:"failing_since"`
	DeletedAt      sql.NullTime `db:"deleted_at"`
}

func rowToRecord(row subscriptionRow) (subscription.Record, error) {
	r := subscription.Record{
		Subscription: subscription.Subscription{
			ID: row.ID, Owner: row.Owner, Name: row.Name, Description: row.Description, Contact: row.Contact, URL: row.URL,
			Filter: row.Filter, Status: subscription.Status(row.Status), StatusReason: row.StatusReason,
			Payload: subscription.Payload(row.Payload), Format: subscription.Format(row.Format),
			MaxInFlight: row.MaxInFlight, RatePerSec: row.RatePerSecond,
			Ordering: subscription.Ordering(row.Ordering), Signature: subscription.Signature(row.Signature),
			Revision: row.Revision, CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(), FailingSince: utc(row.FailingSince),
		},
		VerifiedAt: utc(row.VerifiedAt),
		Challenge:  subscription.Challenge{DueAt: utc(row.ChallengeDueAt), Tries: row.ChallengeTries, Token: row.ChallengeToken},
		DeletedAt:  utc(row.DeletedAt),
	}
	var waits []int64
	if err := errors.Join(
		json.Unmarshal([]byte(row.EventTypes), &r.EventTypes),
		json.Unmarshal([]byte(row.Labels), &r.Labels),
		json.Unmarshal([]byte(row.Schedule), &waits),
	); err != nil {
		return r, fmt.Errorf("read subscription %s: %w", row.ID, err)
	}
	for _, us := range waits {
		r.Schedule = append(r.Schedule, time.Duration(us)*time.Microsecond)
	}
	return r, nil
}

func recordToRow(r subscription.Record, change int64) (subscriptionRow, error) {
	row := subscriptionRow{
		ID: r.ID, Owner: r.Owner, Name: r.Name, Description: r.Description, Contact: r.Contact, URL: r.URL,
		Filter: r.Filter, Status: string(r.Status), StatusReason: r.StatusReason, Payload: string(r.Payload), Format: string(r.Format),
		MaxInFlight: r.MaxInFlight, RatePerSecond: r.RatePerSec, Ordering: string(r.Ordering), Signature: string(r.Signature),
		Revision: r.Revision, Changed: change, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		VerifiedAt: nullTime(r.VerifiedAt), ChallengeDueAt: nullTime(r.Challenge.DueAt),
		ChallengeTries: r.Challenge.Tries, ChallengeToken: r.Challenge.Token,
		FailingSince: nullTime(r.FailingSince), DeletedAt: nullTime(r.DeletedAt),
	}
	waits := make([]int64, 0, len(r.Schedule))
	for _, d := range r.Schedule {
		waits = append(waits, d.Microseconds())
	}
	var err error
	text := func(v any) string {
		b, e := json.Marshal(v)
		err = errors.Join(err, e)
		return string(b)
	}
	row.EventTypes, row.Labels, row.Schedule = text(r.EventTypes), text(r.Labels), text(waits)
	if err != nil {
		return row, fmt.Errorf("write subscription %s: %w", r.ID, err)
	}
	return row, nil
}

type keyRow struct {
	ID             string       `db:"id"`
	SubscriptionID string       `db:"subscription_id"`
	Kind           string       `db:"kind"`
	SealKey        string       `db:"seal_key"`
	Sealed         []byte       `db:"sealed"`
	PublicKey      string       `db:"public_key"`
	CreatedAt      time.Time    `db:"created_at"`
	ExpiresAt      sql.NullTime `db:"expires_at"`
}

func rowToKey(row keyRow) subscription.Key {
	return subscription.Key{
		ID: row.ID, Kind: subscription.Signature(row.Kind), SealKey: row.SealKey, Sealed: row.Sealed, PublicKey: row.PublicKey,
		CreatedAt: row.CreatedAt.UTC(), ExpiresAt: utc(row.ExpiresAt),
	}
}

func keyToRow(subscriptionID string, k subscription.Key) keyRow {
	return keyRow{
		ID: k.ID, SubscriptionID: subscriptionID, Kind: string(k.Kind), SealKey: k.SealKey, Sealed: k.Sealed, PublicKey: k.PublicKey,
		CreatedAt: k.CreatedAt, ExpiresAt: nullTime(k.ExpiresAt),
	}
}

func utc(t sql.NullTime) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}

func nullTime(t time.Time) sql.NullTime { return sql.NullTime{Time: t, Valid: !t.IsZero()} }
