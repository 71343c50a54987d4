package sqlstore

import (
	"context"
	"database/sql"

	"github.com/lib/pq"

	"hirewire.dev/notifier/internal/delivery"
)

// endSQL moves what has ended from deliveries to finished_deliveries, counts it, and makes due what waits behind it. Run
// twice, it finds nothing the second time. What waits behind is due since it was made: so it comes before all that still waits
// in other lines, of which a claim would have to put off thousands to find it. It gets another due time even if it is due
// already: that tells a claim which runs at the same time, and has not seen this, not to put it off.
//
// Rows are looked up BETWEEN id AND id, here and in claimSQL, and not by equality, which could also be answered the other way
// round: by reading all of deliveries in the order of its ids. The planner does so when the table was empty as it was last
// vacuumed, and stays with it while the table fills. For the same reason they ask for lease < 1 and not for lease = 0, of which
// there is an index that could be read as a whole.
const endSQL = `
WITH del AS (
	DELETE FROM deliveries d
	USING unnest($1::text[], $2::bigint[], $3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::int[], $8::text[], $9::text[], $10::text[], $11::bool[])
		AS r(id, token, status, attempts, started, duration, code, outcome, error, snippet, ordered)
	WHERE d.id BETWEEN r.id AND r.id AND d.lease = r.token
	RETURNING d.id, d.event_id, d.event_type, d.subscription_id, d.employee_id, d.position, d.created_at,
		r.status, r.attempts, r.started, r.duration, r.code, r.outcome, r.error, r.snippet, r.ordered
), fin AS (
	INSERT INTO finished_deliveries (id, event_id, event_type, subscription_id, employee_id, position, status, attempts, created_at,
		finished_at, started_at, duration_us, status_code, outcome, error, snippet)
	SELECT id, event_id, event_type, subscription_id, employee_id, position, status, attempts, created_at,
		$12, timestamptz 'epoch' + started * interval '1 microsecond', duration, code, outcome, error, snippet FROM del
), bal AS (
	INSERT INTO balances (subscription_id, shard, delivered, dead, cancelled)
	SELECT subscription_id, $13, count(*) FILTER (WHERE status = 'DELIVERED'), count(*) FILTER (WHERE status = 'DEAD'),
		count(*) FILTER (WHERE status = 'CANCELLED')
	FROM del GROUP BY subscription_id ORDER BY subscription_id
	ON CONFLICT (subscription_id, shard) DO UPDATE SET delivered = balances.delivered + excluded.delivered,
		dead = balances.dead + excluded.dead, cancelled = balances.cancelled + excluded.cancelled
), wake AS (
	UPDATE deliveries d SET due_at = least(d.due_at, d.created_at) - interval '1 microsecond'
	FROM del CROSS JOIN LATERAL (
		SELECT n.id FROM deliveries n
		WHERE n.subscription_id = del.subscription_id AND n.employee_id = del.employee_id AND n.position > del.position
		ORDER BY n.position LIMIT 1
	) n
	WHERE del.ordered AND d.id BETWEEN n.id AND n.id AND d.lease < 1 AND d.attempts = d.base
	RETURNING d.subscription_id
)
SELECT count(*), CASE WHEN count(*) < cardinality($1) THEN array_agg(id) END, ARRAY(SELECT DISTINCT subscription_id FROM wake) FROM del`

// retrySQL makes deliveries due later and records the attempts. Run twice, it finds nothing the second time.
const retrySQL = `
WITH upd AS (
	UPDATE deliveries d SET lease = 0, attempts = r.attempts, base = r.base, due_at = $9::timestamptz + r.wait * interval '1 microsecond'
	FROM unnest($1::text[], $2::bigint[], $3::int[], $4::bigint[], $5::bigint[], $6::int[], $7::text[], $8::text[], $10::text[], $11::bigint[], $12::int[])
		AS r(id, token, attempts, started, duration, code, outcome, error, snippet, wait, base)
	WHERE d.id BETWEEN r.id AND r.id AND d.lease = r.token
	RETURNING r.*
), att AS (
	INSERT INTO attempts (delivery_id, number, started_at, duration_us, status_code, outcome, error, snippet)
	SELECT id, attempts, timestamptz 'epoch' + started * interval '1 microsecond', duration, code, outcome, error, snippet
	FROM upd WHERE started IS NOT NULL ON CONFLICT (delivery_id, number) DO NOTHING
)
SELECT count(*), CASE WHEN count(*) < cardinality($1) THEN array_agg(id) END, '{}'::text[] FROM upd`

type finishArgs struct {
	id, token, status, attempts, started, duration, code, outcome, error, snippet, ordered, wait, base array
}

func (a *finishArgs) fill(batch []delivery.Finished, which []int) {
	for _, p := range []*array{&a.id, &a.status, &a.outcome, &a.error, &a.snippet} {
		p.reset(oidText)
	}
	for _, p := range []*array{&a.token, &a.started, &a.duration, &a.wait} {
		p.reset(oidInt8)
	}
	for _, p := range []*array{&a.attempts, &a.code, &a.base} {
		p.reset(oidInt4)
	}
	a.ordered.reset(oidBool)
	for _, i := range which {
		d := &batch[i]
		a.id.text(d.ID)
		a.token.int8(d.Token)
		a.status.text(string(d.Status))
		a.attempts.int4(attempts(d))
		if d.Attempt.Number > 0 {
			a.started.time(d.Attempt.StartedAt)
		} else {
			a.started.null()
		}
		a.duration.int8(d.Attempt.Duration.Microseconds())
		a.code.int4(d.Attempt.StatusCode)
		a.outcome.text(string(d.Attempt.Outcome))
		a.error.text(d.Attempt.Error)
		a.snippet.text(d.Attempt.Snippet)
		a.ordered.bool(d.Ordered && d.EmployeeID != "")
		a.wait.int8(d.Wait.Microseconds())
		a.base.int4(d.Base)
	}
}

func (f *finishing) atOnce(ctx context.Context) error {
	return f.finishes.use(ctx, f.db.DB.DB, func(prepare func(string) (*sql.Stmt, error)) error {
		a := &f.finishArgs
		if len(f.ended) > 0 {
			a.fill(f.batch, f.ended)
			if err := f.run(ctx, prepare, endSQL, f.ended, a.id.done(), a.token.done(), a.status.done(), a.attempts.done(), a.started.done(),
				a.duration.done(), a.code.done(), a.outcome.done(), a.error.done(), a.snippet.done(), a.ordered.done(), f.Now(), f.shard*2+1); err != nil {
				return err
			}
		}
		if len(f.retried) > 0 {
			a.fill(f.batch, f.retried)
			if err := f.run(ctx, prepare, retrySQL, f.retried, a.id.done(), a.token.done(), a.attempts.done(), a.started.done(), a.duration.done(),
				a.code.done(), a.outcome.done(), a.error.done(), f.Now(), a.snippet.done(), a.wait.done(), a.base.done()); err != nil {
				return err
			}
		}
		return nil
	})
}

// run runs a statement that answers with how many it found, which if not all, and the subscriptions of what it woke.
func (f *finishing) run(ctx context.Context, prepare func(string) (*sql.Stmt, error), query string, which []int, args ...any) error {
	st, err := prepare(query) //nolint:sqlclosecheck // the session closes it
	if err != nil {
		return err
	}
	var n int
	var ids, woken []string
	if err := st.QueryRowContext(ctx, args...).Scan(&n, pq.Array(&ids), pq.Array(&woken)); err != nil {
		return err
	}
	f.woken = append(f.woken, woken...)
	if n == len(which) {
		for _, i := range which {
			f.held[i] = true
		}
		return nil
	}
	found := make(map[string]bool, len(ids))
	for _, id := range ids {
		found[id] = true
	}
	for _, i := range which {
		f.held[i] = found[f.batch[i].ID]
	}
	return nil
}
