package subscription

import (
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"hirewire.dev/notifier/internal/text"
)

// The bounds of a subscription's fields.
const (
	maxName        = 255
	maxDescription = 2000
	maxContact     = 320
	maxEventTypes  = 1000
	maxEventType   = 128
	maxFilter      = 4096
	maxInFlight    = 1000
	maxRate        = 100_000
	maxSchedule    = 100
	maxWait        = 30 * 24 * time.Hour // of all attempts together
	maxLabels      = 64
	maxLabelKey    = 63
	maxLabelValue  = 255
	maxLabelBytes  = 4096 // of all labels together
)

// Rules are what the notifier knows and this package does not.
type Rules struct {
	// CheckURL says why a URL must not be sent to, in words for its owner; nil when it may.
	CheckURL func(url string) error
	// Compile makes a filter of a CEL expression; the error is for whoever wrote it.
	Compile func(filter string) (func(*Candidate) bool, error)
	// EventTypes are the types that can be subscribed to.
	EventTypes []string
}

// check lists what is wrong with the fields that a caller sets.
func (ru Rules) check(s Subscription) error {
	var c checker
	c.text("name", s.Name, maxName, false)
	if strings.TrimSpace(s.Name) == "" {
		c.add("name", "must not be blank")
	}
	c.text("description", s.Description, maxDescription, true)
	ru.checkContact(&c, s.Contact)
	if err := ru.CheckURL(s.URL); err != nil {
		c.add("url", "%s", err)
	}
	ru.checkTypes(&c, s.EventTypes)
	ru.checkFilter(&c, s.Filter)
	oneOf(&c, "payload", s.Payload, Full, Thin)
	oneOf(&c, "format", s.Format, Standard, CloudEvents, Form, XML)
	oneOf(&c, "ordering", s.Ordering, ByEmployee, Unordered)
	oneOf(&c, "signature", s.Signature, V1, V1A)
	c.between("max_in_flight", s.MaxInFlight, maxInFlight)
	c.between("rate_limit_per_second", s.RatePerSec, maxRate)
	checkSchedule(&c, s.Schedule)
	checkLabels(&c, s.Labels)
	return c.err()
}

func (ru Rules) checkContact(c *checker, contact string) {
	c.text("contact", contact, maxContact, false)
	switch {
	case contact == "":
	case strings.Contains(contact, "://"):
		if err := ru.CheckURL(contact); err != nil {
			c.add("contact", "%s", err)
		}
	default:
		if a, err := mail.ParseAddress(contact); err != nil || a.Address != contact {
			c.add("contact", "must be an email address or an https:// URL")
		}
	}
}

func (ru Rules) checkTypes(c *checker, types []string) {
	if len(types) > maxEventTypes {
		c.add("event_types", "has %d entries, at most %d are allowed", len(types), maxEventTypes)
		return
	}
	seen := make(map[string]bool, len(types))
	for i, t := range types {
		field := fmt.Sprintf("event_types[%d]", i)
		switch {
		case len(t) > maxEventType || !ru.knows(t):
			c.add(field, "must be one of %s, or a first word with \".*\"", strings.Join(ru.EventTypes, ", "))
		case seen[t]:
			c.add(field, "is listed twice")
		}
		seen[t] = true
	}
}

// knows says whether a type, or the first word of "word.*", is one that there are events of.
func (ru Rules) knows(t string) bool {
	prefix, wild := strings.CutSuffix(t, "*")
	return slices.ContainsFunc(ru.EventTypes, func(known string) bool {
		if !wild {
			return known == t
		}
		return strings.HasSuffix(prefix, ".") && strings.Count(prefix, ".") == 1 && strings.HasPrefix(known, prefix)
	})
}

func (ru Rules) checkFilter(c *checker, filter string) {
	switch {
	case filter == "":
	case len(filter) > maxFilter:
		c.add("filter", "must have at most %d bytes", maxFilter)
	case !utf8.ValidString(filter):
		c.add("filter", "must be valid UTF-8")
	default:
		if _, err := ru.Compile(filter); err != nil {
			c.add("filter", "%s", err)
		}
	}
}

func checkSchedule(c *checker, schedule []time.Duration) {
	if len(schedule) > maxSchedule {
		c.add("retry_schedule", "has %d entries, at most %d are allowed", len(schedule), maxSchedule)
		return
	}
	var sum time.Duration
	for i, d := range schedule {
		if d < 0 || d > maxWait {
			c.add(fmt.Sprintf("retry_schedule[%d]", i), "must be from 0 to 30 days")
			return
		}
		sum += d
	}
	if sum > maxWait {
		c.add("retry_schedule", "must not be longer than 30 days in all")
	}
}

func checkLabels(c *checker, labels map[string]string) {
	if len(labels) > maxLabels {
		c.add("labels", "has %d entries, at most %d are allowed", len(labels), maxLabels)
		return
	}
	size := 0
	for k, v := range labels {
		size += len(k) + len(v)
		if !validLabelKey(k) {
			c.add("labels", "a key must be 1 to %d of a-z, A-Z, 0-9, '.', '_', '-' and '/'", maxLabelKey)
			return
		}
		c.text("labels["+k+"]", v, maxLabelValue, false)
	}
	if size > maxLabelBytes {
		c.add("labels", "must have at most %d bytes in all", maxLabelBytes)
	}
}

func validLabelKey(k string) bool {
	return k != "" && len(k) <= maxLabelKey && !strings.ContainsFunc(k, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-/", r)
	})
}

// checker gathers violations, as many as are of use.
type checker struct{ violations []Violation }

const maxViolations = 20

func (c *checker) add(field, format string, args ...any) {
	if len(c.violations) < maxViolations {
		c.violations = append(c.violations, Violation{field, fmt.Sprintf(format, args...)})
	}
}

func (c *checker) err() error {
	if len(c.violations) == 0 {
		return nil
	}
	return &InvalidError{c.violations}
}

func (c *checker) text(field, s string, most int, lines bool) {
	switch {
	case !utf8.ValidString(s):
		c.add(field, "must be valid UTF-8")
	case utf8.RuneCountInString(s) > most:
		c.add(field, "must have at most %d characters", most)
	case strings.ContainsFunc(s, func(r rune) bool { return text.Invisible(r) && (!lines || r != '\n') }):
		c.add(field, "must not contain control or invisible characters")
	case strings.ContainsRune(s, utf8.RuneError):
		c.add(field, "contains U+FFFD, which stands for text that was lost")
	}
}

func (c *checker) between(field string, n, most int) {
	if n < 0 || n > most {
		c.add(field, "must be from 0 to %d", most)
	}
}

func oneOf[T ~string](c *checker, field string, v T, allowed ...T) {
	if !slices.Contains(allowed, v) {
		c.add(field, "must be one of %v", allowed)
	}
}
