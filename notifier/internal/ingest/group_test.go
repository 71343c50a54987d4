package ingest

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/subscription"
)

// calls makes a call of each list of ids; "a!" is a with other content, "a>s" is for one subscription.
func calls(lists ...[]string) []call {
	out := make([]call, 0, len(lists))
	for _, ids := range lists {
		var c call
		for _, id := range ids {
			e := event.Event{ID: id[:1], Payload: []byte(id[:1])}
			if len(id) > 1 && id[1] == '!' {
				e.Payload = []byte(id)
			}
			if len(id) > 1 && id[1] == '>' {
				c.only = id[2:]
			}
			c.events = append(c.events, e)
			c.sums = append(c.sums, sha256.Sum256(e.Payload))
		}
		out = append(out, c)
	}
	return out
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		name  string
		calls []call
		want  string
	}{
		{"nothing", nil, ""},
		{"all different", calls([]string{"a"}, []string{"b", "c"}), "0 1"},
		{"the same", calls([]string{"a"}, []string{"a"}, []string{"a"}), "0 <1-0 <2-0"},
		{"part of another", calls([]string{"a", "b"}, []string{"b"}), "0 <1-0"},
		{"more than another", calls([]string{"b"}, []string{"a", "b"}), "0 | 1"},
		{"other content", calls([]string{"a"}, []string{"a!"}, []string{"b"}), "0 2 | 1"},
		{"for one subscription", calls([]string{"a"}, []string{"a>s"}, []string{"a>s"}), "0 | 1 <2-1"},
		{"order", calls([]string{"a"}, []string{"a!"}, []string{"a"}, []string{"a!"}), "0 <2-0 | 1 <3-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, describe(split(c.calls, maxEvents))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func describe(groups []group) (text string) {
	for i, g := range groups {
		if i > 0 {
			text += " | "
		}
		for n, c := range g.calls {
			if n > 0 {
				text += " "
			}
			text += fmt.Sprint(c)
		}
		for _, f := range g.followers {
			text += fmt.Sprintf(" <%d-%d", f.call, f.leader)
		}
	}
	return text
}

// TestSplitBounds: a group has no more events than it may, unless one call has them all; the fewer, the more subscriptions
// may want them.
func TestSplitBounds(t *testing.T) {
	var all []call
	for c, events := range []int{400, 400, 400, 400, 400, 1500, 1, 1, 1} {
		var one call
		for e := range events {
			one.events = append(one.events, event.Event{ID: fmt.Sprint(c, "-", e)})
			one.sums = append(one.sums, [sha256.Size]byte{})
		}
		all = append(all, one)
	}
	for _, c := range []struct {
		targets int
		want    string
	}{
		{0, "0 1 6 7 8 | 2 3 | 4 | 5"},
		{20, "0 1 6 7 8 | 2 3 | 4 | 5"},
		{50, "0 | 1 | 2 | 3 | 4 | 5 | 6 7 8"},
		{10_000, "0 | 1 | 2 | 3 | 4 | 5 | 6 7 | 8"},
		{100_000, "0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8"},
	} {
		t.Run(fmt.Sprint(c.targets, " subscriptions"), func(t *testing.T) {
			s := &subscription.Snapshot{Targets: map[string]*subscription.Target{}}
			for i := range c.targets {
				s.Targets[fmt.Sprint(i)] = nil
			}
			if diff := cmp.Diff(c.want, describe(split(all, mostEvents(s)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
