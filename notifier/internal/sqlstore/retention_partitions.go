package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lib/pq"

	"hirewire.dev/platform/id"
	"hirewire.dev/platform/sqldb"
)

// partitioned are the tables that are kept by days (PostgreSQL): a range of ids is a range of times. What has another kind
// of id, or came on a day without a partition, is in <table>_default.
var partitioned = []struct{ table, column, prefix string }{
	{"events", "id", "evt"},
	{"finished_deliveries", "id", "dlv"},
	{"attempts", "delivery_id", "dlv"},
}

const (
	// daysAhead is how many days have their partitions before they come.
	daysAhead = 3
	// ddlLockWait is how long a change of the partitions waits for its lock: everything else waits behind it meanwhile. It
	// is tried again.
	ddlLockWait = "SET LOCAL lock_timeout = '500ms'"
)

func partitionName(table string, day time.Time) string { return table + "_p" + day.Format("20060102") }

// partitionDay is the day of a partition; false for the default one.
func partitionDay(name string) (time.Time, bool) {
	i := strings.LastIndex(name, "_p")
	if i < 0 {
		return time.Time{}, false
	}
	day, err := time.Parse("20060102", name[i+2:])
	return day, err == nil
}

// MakePartitions makes the partitions of today and the next days (PostgreSQL). It may run again, and in several processes.
// A day whose rows are in the default partition already stays there.
func (s *Store) MakePartitions(ctx context.Context) error {
	if s.db.Engine != sqldb.PostgreSQL {
		return nil
	}
	today := s.Now().Truncate(24 * time.Hour)
	for _, p := range partitioned {
		have, err := s.partitions(ctx, p.table)
		if err != nil {
			return wrap("make partitions", err)
		}
		exists := make(map[string]bool, len(have))
		for _, name := range have {
			exists[name] = true
		}
		for i := range daysAhead + 1 {
			day := today.AddDate(0, 0, i)
			name := partitionName(p.table, day)
			if exists[name] {
				continue
			}
			err := s.ddl(ctx, fmt.Sprintf(`CREATE TABLE %s PARTITION OF %s FOR VALUES FROM ('%s') TO ('%s')`,
				name, p.table, id.Bound(p.prefix, day), id.Bound(p.prefix, day.AddDate(0, 0, 1))))
			if e, ok := errors.AsType[*pq.Error](err); ok && (e.Code == "42P07" || e.Code == "23514" || e.Code == "42P17") {
				continue // another replica made it; or the default partition has rows of the day
			}
			if err != nil {
				return wrap("make partitions", err)
			}
		}
	}
	return nil
}

// partitions are the names of a table's partitions.
func (s *Store) partitions(ctx context.Context, table string) (names []string, err error) {
	err = s.db.SelectContext(ctx, &names, `SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = to_regclass($1) ORDER BY c.relname`, table)
	return names, err
}

// ddl changes tables under a lock that is not waited for long.
func (s *Store) ddl(ctx context.Context, statement string) error {
	return s.db.InTx(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.ExecContext(ctx, ddlLockWait); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, statement)
		return err
	})
}

// dropPartitions drops the partitions of days that ended before the time. A partition that pending work refers to loses the
// rest of its rows instead.
func (s *Store) dropPartitions(ctx context.Context, before time.Time) (dropped int, rows int64, err error) {
	for _, p := range partitioned {
		names, err := s.partitions(ctx, p.table)
		if err != nil {
			return dropped, rows, err
		}
		for _, name := range names {
			day, ok := partitionDay(name)
			if !ok || day.AddDate(0, 0, 1).After(before) {
				continue
			}
			needed, err := s.needed(ctx, p.table, id.Bound(p.prefix, day), id.Bound(p.prefix, day.AddDate(0, 0, 1)))
			if err != nil {
				return dropped, rows, err
			}
			if needed {
				n, err := s.deleteRows(ctx, p.table, name, before)
				rows += n
				if err != nil {
					return dropped, rows, err
				}
				continue
			}
			if err := s.ddl(ctx, `DROP TABLE IF EXISTS `+name); err != nil {
				return dropped, rows, fmt.Errorf("drop %s: %w", name, err)
			}
			dropped++
		}
	}
	return dropped, rows, nil
}

// needed says whether pending work refers to rows of a table in a range of ids.
func (s *Store) needed(ctx context.Context, table, from, to string) (needed bool, err error) {
	column := "id"
	switch table {
	case "events":
		column = "event_id"
	case "finished_deliveries":
		return false, nil
	}
	err = s.db.GetContext(ctx, &needed, `SELECT EXISTS (SELECT 1 FROM deliveries WHERE `+column+` >= $1 AND `+column+` < $2)`, from, to)
	return needed, err
}
