package sqlstore

import (
	"context"
	"fmt"
	"sync"

	"hirewire.dev/platform/sqldb"
)

// serialBlock is how many serials of account numbers a process takes at once. Those it has not used are lost when it ends, so
// that it takes few where the country has few: 13 of Norway's 899,999.
func (s *Store) serialBlock() int64 { return min(max(s.issuer.Capacity()>>16, 1), 1024) }

// serials are those that this process has taken and not used yet.
type serials struct {
	mu     sync.Mutex
	ranges []span
	// given are those of the employees who got one lately. Whether the transaction was committed is not known here: if it was
	// not, the next one gives the employee the same.
	given map[string]int64
}

// maxGiven bounds given; beyond, what was rolled back lately is lost.
const maxGiven = 8192

// span is from, and what follows below to.
type span struct{ from, to int64 }

func (s *serials) left() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.ranges {
		n += r.to - r.from
	}
	return n
}

func (s *serials) add(r span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ranges = append(s.ranges, r)
}

// take gives a serial to each of the first employees, for as long as there are any.
func (s *serials) take(employeeIDs []string) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.given == nil || len(s.given) > maxGiven {
		s.given = make(map[string]int64)
	}
	out := make([]int64, 0, len(employeeIDs))
	for _, e := range employeeIDs {
		serial, ok := s.given[e]
		if !ok {
			if len(s.ranges) == 0 {
				break
			}
			r := &s.ranges[0]
			if serial = r.from; r.from+1 == r.to {
				s.ranges = s.ranges[1:]
			} else {
				r.from++
			}
			s.given[e] = serial
		}
		out = append(out, serial)
	}
	return out
}

// Reserve gets ready for a transaction that opens up to n accounts: it takes serials of account numbers, because within the
// transaction the counter's row would make all who open accounts wait for each other's commit, and prepares statements.
// Without it, or when it fails, Apply does what it needs as it goes.
func (s *Store) Reserve(ctx context.Context, n int) error {
	if s.db.Engine == sqldb.PostgreSQL {
		for _, query := range []string{insertMany, takeSerial, s.currentQuery(lockRows)} {
			if err := s.prepare(ctx, query); err != nil {
				return err
			}
		}
	}
	short := int64(n) - s.serials.left()
	if short <= 0 {
		return nil
	}
	var r span
	err := s.db.InTx(ctx, func(tx *sqldb.Tx) (err error) {
		r, err = s.takeSerials(ctx, tx, max(short, s.serialBlock()))
		return err
	})
	if err != nil {
		return err
	}
	s.serials.add(r)
	return nil
}

const takeSerial = `UPDATE bank SET last_serial = last_serial + $1 RETURNING last_serial`

func (s *Store) takeSerials(ctx context.Context, tx querier, n int64) (span, error) {
	rows, err := s.hot(ctx, tx, takeSerial, n)
	if err != nil {
		return span{}, fmt.Errorf("take account numbers: %w", err)
	}
	last, err := one[int64](rows)
	if err != nil {
		return span{}, fmt.Errorf("take account numbers: %w", err)
	}
	return span{last - n + 1, last + 1}, nil
}
