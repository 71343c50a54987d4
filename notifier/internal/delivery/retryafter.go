package delivery

import (
	"net/http"
	"strings"
	"time"
)

// RetryAfter reads the header of that name (RFC 9110, section 10.2.3): seconds or a date, which is counted from now.
// What makes no sense, is negative or has passed is 0; what is too long is MaxRetryAfter.
func RetryAfter(value string, now time.Time) time.Duration {
	value = strings.Trim(value, " \t")
	if value == "" || len(value) > 64 {
		return 0
	}
	if seconds, ok := digits(value); ok {
		return seconds
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}

func digits(value string) (wait time.Duration, ok bool) {
	for i := range len(value) {
		c := value[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		wait = min(wait*10+time.Duration(c-'0')*time.Second, MaxRetryAfter)
	}
	return wait, true
}
