package settings

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// CIDRs is a comma-separated list of network prefixes.
type CIDRs []netip.Prefix

// UnmarshalText checks and sets the list.
func (l *CIDRs) UnmarshalText(text []byte) error {
	var out CIDRs
	for item := range strings.SplitSeq(string(text), ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(item))
		if err != nil {
			return fmt.Errorf("%q is not a CIDR such as 10.0.0.0/8", item)
		}
		if p != p.Masked() {
			return fmt.Errorf("%q has bits set after the prefix; did you mean %s?", item, p.Masked())
		}
		out = append(out, p)
	}
	*l = out
	return nil
}

func (CIDRs) placeholder() string { return "CIDR,…" }

// Durations is a comma-separated list of Go durations, none negative.
type Durations []time.Duration

// UnmarshalText checks and sets the list.
func (l *Durations) UnmarshalText(text []byte) error {
	var out Durations
	for item := range strings.SplitSeq(string(text), ",") {
		d, err := time.ParseDuration(strings.TrimSpace(item))
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 5s", item)
		}
		if d < 0 {
			return fmt.Errorf("%q is negative", item)
		}
		out = append(out, d)
	}
	*l = out
	return nil
}

func (Durations) placeholder() string { return "DURATION,…" }

// String is the list as it is written.
func (l Durations) String() string {
	parts := make([]string, len(l))
	for i, d := range l {
		parts[i] = d.String()
	}
	return strings.Join(parts, ",")
}
