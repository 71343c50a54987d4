package ingest

// group is calls that can be stored together: no event is in two of them.
type group struct {
	calls     []int
	events    int
	followers []follower
}

// follower is a call whose events are all in another one: it ends as that one does.
type follower struct{ call, leader int }

// split divides calls into groups of at most so many events, in order; a call is never divided.
func split(calls []call, most int) []group {
	todo := make([]int, len(calls))
	for i := range todo {
		todo[i] = i
	}
	var groups []group
	for len(todo) > 0 {
		g, rest := gather(calls, todo, most)
		groups = append(groups, g)
		todo = rest
	}
	return groups
}

// gather takes what fits into one group; rest is what does not.
func gather(calls []call, todo []int, most int) (g group, rest []int) {
	// by gives for each event of the group the call that it is in.
	by := make(map[string]int, len(todo))
	g.calls = make([]int, 0, len(todo))
	for _, n := range todo {
		c := &calls[n]
		leader, shares := shared(c, by)
		switch {
		case !shares && (g.events == 0 || g.events+len(c.events) <= most):
			for i := range c.events {
				by[c.events[i].ID] = n
			}
			g.calls = append(g.calls, n)
			g.events += len(c.events)
		case shares && follows(c, &calls[leader]):
			g.followers = append(g.followers, follower{call: n, leader: leader})
		default:
			rest = append(rest, n)
		}
	}
	return g, rest
}

// shared says whether an event of the call is in another one of the group, and in which.
func shared(c *call, by map[string]int) (leader int, shares bool) {
	for i := range c.events {
		if leader, ok := by[c.events[i].ID]; ok {
			return leader, true
		}
	}
	return 0, false
}

// follows says whether all of a call's events are in the leader, with the same content, for the same subscriptions.
func follows(c, leader *call) bool {
	if c.only != leader.only {
		return false
	}
	for i := range c.events {
		found := false
		for j := range leader.events {
			if c.events[i].ID == leader.events[j].ID {
				found = c.sums[i] == leader.sums[j]
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}
