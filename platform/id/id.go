// Package id makes and checks the ids of the system: a short prefix that says
// what the id is of, an underscore and a ULID (github.com/ulid/spec), such as
// "emp_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4". Ids sort by the time they were made, and
// those of one process are strictly increasing.
package id

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"
)

const (
	encodedLen = 26
	alphabet   = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" // Crockford's base 32
	maxMillis  = 1<<48 - 1
)

var isDigit = func() (is [256]bool) {
	for _, c := range []byte(alphabet) {
		is[c] = true
	}
	return is
}()

// value is a ULID: 48 bits of milliseconds, then 80 bits of entropy.
type value struct{ hi, lo uint64 }

// source makes strictly increasing values. Within a millisecond it counts up
// from the last one by a random step, so ids stay hard to guess from each
// other; the critical section is a few nanoseconds.
type source struct {
	mu   sync.Mutex
	last value
	// pool holds random bytes read ahead, since a read of crypto/rand costs
	// the same for 10 bytes as for 500.
	pool [512]byte
	used int
}

var global = &source{used: 512}

func (s *source) take(n int) []byte {
	if s.used+n > len(s.pool) {
		_, _ = rand.Read(s.pool[:]) // never fails, by its documentation
		s.used = 0
	}
	b := s.pool[s.used : s.used+n]
	s.used += n
	return b
}

func (s *source) next(millis uint64) value {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.last.hi >> 16; millis > last {
		b := s.take(10)
		s.last = value{
			// The top bit of the entropy stays clear, which leaves the
			// steps of one millisecond room to grow.
			hi: millis<<16 | uint64(binary.BigEndian.Uint16(b)&0x7fff),
			lo: binary.BigEndian.Uint64(b[2:]),
		}
		return s.last
	}
	step := uint64(binary.BigEndian.Uint32(s.take(4))) + 1
	lo := s.last.lo + step
	if lo < s.last.lo {
		s.last.hi++ // past the entropy this carries into the time: still increasing
	}
	s.last.lo = lo
	return s.last
}

// New makes an id with the prefix, such as New("emp"). It is safe for
// concurrent use; a later call gives a greater id, even if the clock steps back.
func New(prefix string) string {
	return encode(prefix, global.next(uint64(max(time.Now().UnixMilli(), 0))))
}

// Bound is the smallest id with the prefix that can be made at t: ids made
// before t are smaller than it. It bounds ranges, such as partitions.
func Bound(prefix string, t time.Time) string {
	return encode(prefix, value{hi: uint64(min(max(t.UnixMilli(), 0), maxMillis)) << 16})
}

// Valid reports whether s is an id with the prefix, in the one form that New makes.
func Valid(prefix, s string) bool {
	if len(s) != len(prefix)+1+encodedLen || s[:len(prefix)] != prefix || s[len(prefix)] != '_' || s[len(prefix)+1] > '7' {
		return false
	}
	for i := len(prefix) + 1; i < len(s); i++ {
		if !isDigit[s[i]] {
			return false
		}
	}
	return true
}

func encode(prefix string, v value) string {
	var buf [64]byte
	b := append(buf[:0], prefix...)
	b = append(b, '_')
	for shift := 125; shift >= 0; shift -= 5 {
		var d uint64
		switch {
		case shift >= 64:
			d = v.hi >> (shift - 64)
		case shift > 59:
			d = v.lo>>shift | v.hi<<(64-shift)
		default:
			d = v.lo >> shift
		}
		b = append(b, alphabet[d&31])
	}
	return string(b)
}
