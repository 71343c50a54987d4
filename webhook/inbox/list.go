package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"hirewire.dev/webhook"
)

// Record is a message as it is kept: what came, and what became of it.
type Record struct {
	ID      string
	Type    string // "" when it could not be understood
	Subject Subject
	Status  Status
	// Kind is the kind of signature that it came under.
	Kind webhook.Kind
	// SentAt, ReceivedAt and SenderAttempt belong to the attempt that arrived
	// first; SenderAttempt is 0 when the sender did not say.
	SentAt        time.Time
	ReceivedAt    time.Time
	SenderAttempt int
	Traceparent   string
	// Attempts counts the tries to process it.
	Attempts int
	// NextTry is when it is due again; zero unless it is open.
	NextTry time.Time
	// LastError is that of the last failed try, also when a later one went well.
	LastError string
	// FinishedAt is zero while it is open.
	FinishedAt time.Time
	// Outcome and Reference are what the handler left.
	Outcome   string
	Reference string
	// Body is what was signed; only Get reads it. It is empty once erased.
	Body []byte
}

// Filter chooses messages; each field that is set must fit.
type Filter struct {
	Statuses []Status
	Type     string
	Key      string
	// ReceivedFrom is inclusive, ReceivedBefore exclusive.
	ReceivedFrom   time.Time
	ReceivedBefore time.Time
}

// MaxPage is the most that List returns at once.
const MaxPage = 1000

const recordColumns = `seq, id, type, ordering_key, version, status, signature, sent_at, received_at, sender_attempt,
	traceparent, attempts, due_at, last_error, finished_at, outcome, reference`

// List returns up to limit messages, the newest first, and the cursor for the
// next page, "" after the last. The first page has the cursor "".
func (b *Inbox) List(ctx context.Context, filter Filter, cursor string, limit int) (page []Record, next string, err error) {
	where, args := b.where(filter)
	if cursor != "" {
		before, err := strconv.ParseInt(cursor, 36, 64)
		if err != nil || before <= 0 {
			return nil, "", ErrBadCursor
		}
		args = append(args, before)
		where = append(where, "seq < $"+strconv.Itoa(len(args)))
	}
	limit = min(max(limit, 1), MaxPage)
	args = append(args, limit+1)
	//nolint:gosec // only placeholders and column names are put together.
	query := `SELECT ` + recordColumns + ` FROM inbox_events WHERE ` + strings.Join(where, " AND ") +
		` ORDER BY seq DESC LIMIT $` + strconv.Itoa(len(args))
	rows, err := b.config.Reader.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, "", fmt.Errorf("list messages: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var last int64
	for rows.Next() {
		if len(page) == limit {
			return page, strconv.FormatInt(last, 36), nil
		}
		var r Record
		if last, err = r.scan(rows); err != nil {
			return nil, "", fmt.Errorf("list messages: %w", err)
		}
		page = append(page, r)
	}
	return page, "", rows.Err()
}

// where is the condition of a filter. Statuses are spelled out, not bound, so
// that the planners see which partial index fits.
func (b *Inbox) where(f Filter) (where []string, args []any) {
	where = []string{"1 = 1"}
	add := func(condition string, value any) {
		args = append(args, value)
		where = append(where, condition+strconv.Itoa(len(args)))
	}
	if len(f.Statuses) > 0 {
		where = append(where, statusCondition(f.Statuses)...)
	}
	if f.Type != "" {
		add("type = $", f.Type)
	}
	if f.Key != "" {
		add("ordering_key = $", f.Key)
	}
	if !f.ReceivedFrom.IsZero() {
		add("received_at >= $", b.backend.time(f.ReceivedFrom.UTC()))
	}
	if !f.ReceivedBefore.IsZero() {
		add("received_at < $", b.backend.time(f.ReceivedBefore.UTC()))
	}
	return where, args
}

func statusCondition(statuses []Status) (where []string) {
	var quoted []string
	isOpen, isAttention := true, true
	for _, s := range statuses {
		switch s {
		case StatusPending:
			isAttention = false
		case StatusFailed:
		case StatusIgnored, StatusQuarantined:
			isOpen = false
		case StatusProcessed:
			isOpen, isAttention = false, false
		default:
			continue
		}
		quoted = append(quoted, "'"+string(s)+"'")
	}
	switch {
	case len(quoted) == 0:
		return []string{"1 = 0"}
	case isOpen:
		where = append(where, open)
	case isAttention:
		where = append(where, "status IN ('FAILED', 'IGNORED', 'QUARANTINED')")
	}
	return append(where, "status IN ("+strings.Join(quoted, ", ")+")")
}

func (r *Record) scan(row interface{ Scan(dest ...any) error }, more ...any) (seq int64, err error) {
	err = row.Scan(append([]any{
		&seq, &r.ID, &r.Type, &r.Subject.Key, &r.Subject.Version, &r.Status, &r.Kind,
		timestamp{&r.SentAt},
		timestamp{&r.ReceivedAt},
		&r.SenderAttempt, &r.Traceparent, &r.Attempts,
		timestamp{&r.NextTry},
		&r.LastError,
		timestamp{&r.FinishedAt},
		&r.Outcome, &r.Reference,
	}, more...)...)
	if r.Status != StatusPending && r.Status != StatusFailed {
		r.NextTry = time.Time{}
	}
	return seq, err
}

// Get returns one message with its body, or [ErrNotFound].
func (b *Inbox) Get(ctx context.Context, id string) (Record, error) {
	var r Record
	row := b.config.Reader.QueryRowContext(ctx, `SELECT `+recordColumns+`, body FROM inbox_events WHERE id = $1`, id)
	_, err := r.scan(row, &r.Body)
	if errors.Is(err, sql.ErrNoRows) {
		return Record{}, ErrNotFound
	}
	if err != nil {
		return Record{}, fmt.Errorf("get message: %w", err)
	}
	return r, nil
}

// Reprocess makes a message due again, whatever became of it, with its failures
// forgiven; one that a worker holds at the moment is let be. The handler must
// bear to see what it has done already. [ErrNotFound] if there is no such
// message.
func (b *Inbox) Reprocess(ctx context.Context, id string) error {
	n, err := b.reopen(ctx, "id = $3", id)
	if err != nil || n > 0 {
		return err
	}
	_, err = b.Get(ctx, id)
	return err
}

// reopenBatch bounds one statement of ReprocessAll.
const reopenBatch = 500

// ReprocessAll makes due again all that the filter chooses, which must name at
// least one status, and returns how many those are.
func (b *Inbox) ReprocessAll(ctx context.Context, filter Filter) (int64, error) {
	if len(filter.Statuses) == 0 {
		return 0, errors.New("reprocess: name the statuses")
	}
	var total int64
	var cursor string
	for {
		page, next, err := b.List(ctx, filter, cursor, reopenBatch)
		if err != nil {
			return total, err
		}
		if len(page) > 0 {
			ids := make([]string, len(page))
			for i, r := range page {
				ids[i] = r.ID
			}
			marks, args := placeholders(ids, 3)
			// The status once more: what has moved on since stays where it is.
			n, err := b.reopen(ctx, "id IN ("+marks+") AND "+strings.Join(statusCondition(filter.Statuses), " AND "), args...)
			if err != nil {
				return total, err
			}
			total += n
		}
		if next == "" {
			return total, nil
		}
		cursor = next
	}
}

func (b *Inbox) reopen(ctx context.Context, condition string, args ...any) (int64, error) {
	at := now()
	//nolint:gosec // only placeholders are put together.
	query := `UPDATE inbox_events SET status = 'PENDING', strikes = 0, lease = 0, due_at = $1, finished_at = NULL
		WHERE NOT (` + open + ` AND lease <> 0 AND due_at > $2) AND ` + condition
	res, err := b.config.DB.ExecContext(ctx, query, append([]any{b.backend.time(at), b.backend.time(at)}, args...)...)
	if err != nil {
		return 0, fmt.Errorf("reprocess: %w", err)
	}
	n, err := res.RowsAffected()
	if n > 0 {
		b.nudge()
	}
	return n, err
}

// Erase empties the bodies of all finished messages of a key, for a person who
// asks for it, and returns how many. Their ids stay, so that they are not taken
// in again.
func (b *Inbox) Erase(ctx context.Context, key string) (int64, error) {
	if key == "" {
		return 0, nil
	}
	res, err := b.config.DB.ExecContext(ctx,
		`UPDATE inbox_events SET body = $1, last_error = '' WHERE ordering_key = $2 AND NOT (`+open+`)`, []byte{}, key)
	if err != nil {
		return 0, fmt.Errorf("erase bodies: %w", err)
	}
	return res.RowsAffected()
}
