package rpc

import (
	"errors"
	"regexp"
	"time"
)

// TimeReason is what a caller is told whose time ParseTime does not take.
const TimeReason = "must be a time such as 2026-11-20T09:00:00Z"

var (
	rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
	errTime = errors.New(TimeReason)
)

// ParseTime reads a time as RFC 3339 has it, with T and Z in capitals and without leap seconds. Package time alone, its
// UnmarshalText included, also takes hours of one digit, a comma before the fraction, and offsets of a day and more.
func ParseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || !rfc3339.MatchString(text) {
		return time.Time{}, errTime
	}
	return t, nil
}
