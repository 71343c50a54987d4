package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/subscription"
	"hirewire.dev/platform/sqldb"
)

var (
	_ subscription.Store = (*Store)(nil)
	_ subscription.Feed  = (*Store)(nil)
)

// newChange begins a change of a subscription or an API key, or an erasure, and numbers it. The lock that it takes puts such changes one after
// the other, so it comes first in each.
func newChange(ctx context.Context, tx *sqldb.Tx) (number int64, err error) {
	if err = tx.GetContext(ctx, &number, `UPDATE changes SET number = number + 1 WHERE id = 1 RETURNING number`); err != nil {
		return 0, fmt.Errorf("number the change: %w", err)
	}
	return number, announce(ctx, tx)
}

// announce wakes all replicas when, and only when, the transaction commits.
func announce(ctx context.Context, tx *sqldb.Tx) error {
	if tx.Engine != sqldb.PostgreSQL {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `SELECT pg_notify($1, '')`, changesChannel); err != nil {
		return fmt.Errorf("announce the change: %w", err)
	}
	return nil
}

const changesChannel = "notifier_changes"

// ListenForChanges calls wake when a replica has changed a subscription or an API key, has erased, or has come or gone, until
// ctx ends. It may miss some, and call too often. Wake must not block.
func (s *Store) ListenForChanges(ctx context.Context, wake func()) error {
	return s.db.Listen(ctx, changesChannel, func(string) { wake() })
}

// newEpoch ends all snapshots: events are fanned out by newer ones, once this transaction has committed. It waits for the
// transactions that are storing events, and they then wait for this one; so it comes late.
func newEpoch(ctx context.Context, tx *sqldb.Tx) error {
	if _, err := tx.ExecContext(ctx, `UPDATE feed SET epoch = epoch + 1 WHERE id = 1`); err != nil {
		return fmt.Errorf("new epoch: %w", err)
	}
	return nil
}

// Mark implements subscription.Feed.
func (s *Store) Mark(ctx context.Context) (m subscription.Mark, err error) {
	err = s.db.Reader().QueryRowContext(ctx, `SELECT feed.epoch, changes.number FROM feed, changes`).Scan(&m.Epoch, &m.Change)
	return m, err
}

// Create implements subscription.Store.
func (s *Store) Create(ctx context.Context, r subscription.Record, since *subscription.Since, req access.Request, e audit.Entry) (before *access.Request, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		before = nil
		change, err := newChange(ctx, tx)
		if err != nil {
			return err
		}
		if before, err = putRequest(ctx, tx, req); err != nil {
			return err
		}
		if before != nil {
			return errNothingChanged
		}
		row, err := recordToRow(r, change)
		if err != nil {
			return err
		}
		if err := newEpoch(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.NamedExecContext(ctx, insertSubscription, row); err != nil {
			return subscriptionError(err)
		}
		if err := putLabels(ctx, tx, r.ID, r.Labels); err != nil {
			return err
		}
		if err := putKeys(ctx, tx, r.ID, nil, r.Keys); err != nil {
			return err
		}
		if since != nil {
			if err := startReplay(ctx, tx, r, *since); err != nil {
				return err
			}
		}
		return putAudit(ctx, tx, e)
	})
	return before, changeError(err)
}

// errNothingChanged rolls a transaction back that has nothing to commit.
var errNothingChanged = errors.New("nothing changed")

// changeError is what a change's transaction returned, to its caller.
func changeError(err error) error {
	if errors.Is(err, errNothingChanged) {
		return nil
	}
	return err
}

var insertSubscription = `INSERT INTO subscriptions (` + subscriptionColumns + `, changed) VALUES (` +
	named(subscriptionColumns) + `, :changed)`

var updateSubscription = `UPDATE subscriptions SET ` + assignments(subscriptionColumns) + `, changed = :changed WHERE id = :id`

func named(columns string) string { return ":" + strings.Join(split(columns), ", :") }

func assignments(columns string) string {
	var set []string
	for _, c := range split(columns) {
		if c != "id" {
			set = append(set, c+" = :"+c)
		}
	}
	return strings.Join(set, ", ")
}

func split(columns string) []string {
	return strings.FieldsFunc(columns, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
}

func subscriptionError(err error) error {
	if c, ok := sqldb.IsUnique(err); ok && (c == "subscriptions_name" || strings.Contains(c, "subscriptions.name")) {
		return subscription.ErrNameTaken
	}
	return err
}

func putLabels(ctx context.Context, tx *sqldb.Tx, id string, labels map[string]string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM subscription_labels WHERE subscription_id = $1`, id); err != nil {
		return err
	}
	for name, value := range labels {
		if _, err := tx.ExecContext(ctx, `INSERT INTO subscription_labels (subscription_id, name, value) VALUES ($1, $2, $3)`, id, name, value); err != nil {
			return err
		}
	}
	return nil
}

// putKeys makes the stored keys of a subscription, was, those of keys.
func putKeys(ctx context.Context, tx *sqldb.Tx, id string, was, keys []subscription.Key) error {
	stored := make(map[string]subscription.Key, len(was))
	for _, k := range was {
		stored[k.ID] = k
	}
	for _, k := range keys {
		old, ok := stored[k.ID]
		delete(stored, k.ID)
		var err error
		switch {
		case !ok:
			_, err = tx.NamedExecContext(ctx, `INSERT INTO signing_keys (id, subscription_id, kind, seal_key, sealed, public_key, created_at, expires_at)
				VALUES (:id, :subscription_id, :kind, :seal_key, :sealed, :public_key, :created_at, :expires_at)`, keyToRow(id, k))
		case !old.ExpiresAt.Equal(k.ExpiresAt):
			_, err = tx.ExecContext(ctx, `UPDATE signing_keys SET expires_at = $2 WHERE id = $1`, k.ID, nullTime(k.ExpiresAt))
		}
		if err != nil {
			return fmt.Errorf("put signing key: %w", err)
		}
	}
	for gone := range stored {
		if _, err := tx.ExecContext(ctx, `DELETE FROM signing_keys WHERE id = $1`, gone); err != nil {
			return fmt.Errorf("remove signing key: %w", err)
		}
	}
	return nil
}

// Get implements subscription.Store.
func (s *Store) Get(ctx context.Context, id string) (subscription.Record, error) {
	r, err := readRecord(ctx, s.db.Reader(), selectSubscription, id)
	if err == nil && !r.DeletedAt.IsZero() {
		return subscription.Record{}, subscription.ErrNotFound
	}
	return r, err
}

// queryer is a pool or a transaction.
type queryer interface {
	GetContext(ctx context.Context, dest any, query string, args ...any) error
	SelectContext(ctx context.Context, dest any, query string, args ...any) error
}

const selectSubscription = `SELECT ` + subscriptionColumns + ` FROM subscriptions WHERE id = $1`

// readRecord reads a subscription, by selectSubscription or a locking form of it, and its keys; deleted or not.
func readRecord(ctx context.Context, q queryer, query, id string) (subscription.Record, error) {
	var row subscriptionRow
	err := q.GetContext(ctx, &row, query, id)
	if errors.Is(err, sql.ErrNoRows) {
		return subscription.Record{}, subscription.ErrNotFound
	}
	if err != nil {
		return subscription.Record{}, err
	}
	r, err := rowToRecord(row)
	if err != nil {
		return r, err
	}
	var keys []keyRow
	if err := q.SelectContext(ctx, &keys, `SELECT id, subscription_id, kind, seal_key, sealed, public_key, created_at, expires_at
		FROM signing_keys WHERE subscription_id = $1 ORDER BY id DESC`, id); err != nil {
		return r, err
	}
	for _, k := range keys {
		r.Keys = append(r.Keys, rowToKey(k))
	}
	return r, nil
}

// Update implements subscription.Store.
func (s *Store) Update(ctx context.Context, id string, req access.Request, fn func(*subscription.Record) (*audit.Entry, error)) (r subscription.Record, before *access.Request, err error) {
	err = s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		before = nil
		change, err := newChange(ctx, tx)
		if err != nil {
			return err
		}
		// Locked against a challenge that is claimed or postponed meanwhile.
		if r, err = readRecord(ctx, tx, tx.SQL(selectSubscription+` FOR UPDATE`), id); err != nil {
			return err
		}
		if !r.DeletedAt.IsZero() {
			return subscription.ErrNotFound
		}
		was := r.Clone()
		entry, err := fn(&r)
		if err != nil {
			return err
		}
		if entry == nil {
			return errNothingChanged
		}
		if before, err = putRequest(ctx, tx, req); err != nil {
			return err
		}
		if before != nil {
			return errNothingChanged
		}
		return s.put(ctx, tx, was, r, change, *entry)
	})
	if err = changeError(err); err != nil {
		return subscription.Record{}, nil, err
	}
	return r, before, nil
}

// put stores what changed of a subscription.
func (s *Store) put(ctx context.Context, tx *sqldb.Tx, was, r subscription.Record, change int64, e audit.Entry) error {
	row, err := recordToRow(r, change)
	if err != nil {
		return err
	}
	if subscription.Diverts(was, r) {
		if err := newEpoch(ctx, tx); err != nil {
			return err
		}
	}
	if _, err := tx.NamedExecContext(ctx, updateSubscription, row); err != nil {
		return subscriptionError(err)
	}
	if err := putLabels(ctx, tx, r.ID, r.Labels); err != nil {
		return err
	}
	if err := putKeys(ctx, tx, r.ID, was.Keys, r.Keys); err != nil {
		return err
	}
	if !r.DeletedAt.IsZero() {
		// A client that asks again for what it deleted makes another one.
		if _, err := tx.ExecContext(ctx, `DELETE FROM requests WHERE resource = $1`, r.ID); err != nil {
			return err
		}
		if _, err := s.cancelSome(ctx, tx, r.ID, cancelAtOnce, r.DeletedAt); err != nil {
			return err
		}
	}
	return putAudit(ctx, tx, e)
}

// ClaimChallenges implements subscription.Store.
func (s *Store) ClaimChallenges(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]subscription.Record, error) {
	var ids []string
	if err := s.db.Reader().SelectContext(ctx, &ids, `SELECT id FROM subscriptions
		WHERE challenge_due_at IS NOT NULL AND challenge_due_at <= $1 ORDER BY challenge_due_at LIMIT $2`, now, limit); err != nil {
		return nil, err
	}
	var claimed []subscription.Record
	for _, id := range ids {
		// Fenced by what makes it due: of several who try, one gets it.
		done, err := s.db.ExecContext(ctx, `UPDATE subscriptions SET challenge_due_at = $2, challenge_token = challenge_token + 1
			WHERE id = $1 AND challenge_due_at IS NOT NULL AND challenge_due_at <= $3`, id, now.Add(lease), now)
		if err != nil {
			return claimed, err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			continue
		}
		r, err := readRecord(ctx, s.db, selectSubscription, id)
		if err != nil {
			return claimed, err
		}
		if r.DeletedAt.IsZero() && !r.Challenge.DueAt.IsZero() {
			claimed = append(claimed, r)
		}
	}
	return claimed, nil
}

// PostponeChallenge implements subscription.Store.
func (s *Store) PostponeChallenge(ctx context.Context, id string, c subscription.Challenge, reason string) error {
	_, err := s.db.ExecContext(ctx, `UPDATE subscriptions SET challenge_due_at = $3, challenge_tries = $4, status_reason = $5
		WHERE id = $1 AND challenge_token = $2 AND deleted_at IS NULL`, id, c.Token, nullTime(c.DueAt), c.Tries, reason)
	return err
}
