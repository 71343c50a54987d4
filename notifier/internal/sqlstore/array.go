package sqlstore

import (
	"encoding/binary"
	"time"
)

// array writes a PostgreSQL array in its binary form, which goes to the server as it is: nothing is escaped here and nothing
// parsed there. sqldb's connections take []byte so (binary_parameters).
type array []byte

// The types of elements (pg_type.oid).
const (
	oidBool = 16
	oidInt8 = 20
	oidInt4 = 23
	oidText = 25
)

const arrayHeader = 20

// reset begins an array of a type.
func (a *array) reset(oid uint32) {
	b := append((*a)[:0], make([]byte, arrayHeader)...)
	binary.BigEndian.PutUint32(b[0:], 1) // dimensions
	binary.BigEndian.PutUint32(b[8:], oid)
	binary.BigEndian.PutUint32(b[16:], 1) // the first index
	*a = b
}

func (a *array) element(size int) {
	b := *a
	binary.BigEndian.PutUint32(b[12:], binary.BigEndian.Uint32(b[12:])+1) // how many
	*a = binary.BigEndian.AppendUint32(b, uint32(size))
}

func (a *array) text(s string) {
	a.element(len(s))
	*a = append(*a, s...)
}

func (a *array) int4(n int) {
	a.element(4)
	*a = binary.BigEndian.AppendUint32(*a, uint32(n))
}

func (a *array) int8(n int64) {
	a.element(8)
	*a = binary.BigEndian.AppendUint64(*a, uint64(n))
}

func (a *array) bool(v bool) {
	a.element(1)
	if v {
		*a = append(*a, 1)
	} else {
		*a = append(*a, 0)
	}
}

// null is for an array of one type or the other alike.
func (a *array) null() {
	a.element(-1)
	binary.BigEndian.PutUint32((*a)[4:], 1)
}

// time writes microseconds since 1970 into an array of int8, which SQL adds to the epoch.
func (a *array) time(t time.Time) { a.int8(t.UnixMicro()) }

// done is the parameter. Its memory is the array's own.
func (a *array) done() []byte {
	b := *a
	if binary.BigEndian.Uint32(b[12:]) == 0 {
		binary.BigEndian.PutUint32(b[0:], 0) // an empty array has no dimension
		b = b[:12]
	}
	return b
}
