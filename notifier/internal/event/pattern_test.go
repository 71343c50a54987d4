package event_test

import (
	"testing"

	"hirewire.dev/notifier/internal/event"
)

func TestMatchesType(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]bool{
		"employee.created": true, "employee.*": true, "employee.updated": false, "employee*": false, "*": false, ".*": false, "emp.*": false, "": false,
	} {
		if got := event.MatchesType(pattern, "employee.created"); got != want {
			t.Errorf("%q: %v", pattern, got)
		}
	}
}
