package sqlstore

import (
	"maps"
	"slices"
)

// shards is how many rows of a balance there are for each kind of count. A process uses one of each; two processes with
// the same one wait for each other, and that is all.
const shards = 16

// tally counts by subscription.
type tally map[string]int64

// sorted gives the subscriptions in the order in which every transaction takes their rows, so that none waits in a circle.
func (t tally) sorted() []string { return slices.Sorted(maps.Keys(t)) }
