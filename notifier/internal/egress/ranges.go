package egress

import "net/netip"

// A rule refuses the addresses of a prefix.
type rule struct {
	prefix netip.Prefix
	rule   string
}

// globalUnicast is all of IPv6 that IANA hands out (RFC 4291); the rest is refused as a whole.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// refused is the list, the first hit counts: what a cloud answers secrets at, then the special-purpose registries of IANA
// (RFC 6890 and its updates) and the ways to write an IPv4 address as an IPv6 one.
var refused = func() []rule {
	var rules []rule
	for _, r := range []struct{ rule, prefix string }{
		{"cloud-metadata", "169.254.169.254/32"},
		{"cloud-metadata", "169.254.170.2/32"},
		{"cloud-metadata", "168.63.129.16/32"}, // a public address, but only ever a cloud's own
		{"cloud-metadata", "100.100.100.200/32"},
		{"cloud-metadata", "192.0.0.192/32"},
		{"cloud-metadata", "fd00:ec2::/32"},
		{"cloud-metadata", "fd20:ce::254/128"},

		{"this-network", "0.0.0.0/8"},       // RFC 791
		{"private-use", "10.0.0.0/8"},       // RFC 1918
		{"shared-address", "100.64.0.0/10"}, // RFC 6598
		{"loopback", "127.0.0.0/8"},         // RFC 1122
		{"link-local", "169.254.0.0/16"},    // RFC 3927
		{"private-use", "172.16.0.0/12"},    // RFC 1918
		{"ietf-protocol", "192.0.0.0/24"},   // RFC 6890
		{"documentation", "192.0.2.0/24"},   // RFC 5737
		{"as112", "192.31.196.0/24"},        // RFC 7535
		{"amt", "192.52.193.0/24"},          // RFC 7450
		{"6to4-relay", "192.88.99.0/24"},    // RFC 7526
		{"private-use", "192.168.0.0/16"},   // RFC 1918
		{"as112", "192.175.48.0/24"},        // RFC 7534
		{"benchmarking", "198.18.0.0/15"},   // RFC 2544
		{"documentation", "198.51.100.0/24"},
		{"documentation", "203.0.113.0/24"},
		{"documentation", "233.252.0.0/24"}, // RFC 6676
		{"multicast", "224.0.0.0/4"},        // RFC 5771
		{"broadcast", "255.255.255.255/32"}, // RFC 8190
		{"reserved", "240.0.0.0/4"},         // RFC 1112

		{"unspecified", "::/128"},
		{"loopback", "::1/128"},
		{"ipv4-translated", "::ffff:0:0:0/96"}, // RFC 2765
		{"ipv4-compatible", "::/96"},           // RFC 4291
		{"nat64", "64:ff9b::/96"},              // RFC 6052
		{"nat64-local", "64:ff9b:1::/48"},      // RFC 8215
		{"discard-only", "100::/64"},           // RFC 6666
		{"dummy", "100:0:0:1::/64"},            // RFC 9780
		{"teredo", "2001::/32"},                // RFC 4380
		{"benchmarking", "2001:2::/48"},        // RFC 5180
		{"amt", "2001:3::/32"},                 // RFC 7450
		{"as112", "2001:4:112::/48"},           // RFC 7535
		{"orchid", "2001:10::/28"},             // RFC 4843
		{"orchid", "2001:20::/28"},             // RFC 7343
		{"drone-remote-id", "2001:30::/28"},    // RFC 9374
		{"ietf-protocol", "2001::/23"},         // RFC 2928
		{"documentation", "2001:db8::/32"},     // RFC 3849
		{"6to4", "2002::/16"},                  // RFC 3056
		{"as112", "2620:4f:8000::/48"},         // RFC 7534
		{"6bone", "3ffe::/16"},                 // RFC 3701
		{"documentation", "3fff::/20"},         // RFC 9637
		{"srv6-sids", "5f00::/16"},             // RFC 9602
		{"unique-local", "fc00::/7"},           // RFC 4193
		{"link-local", "fe80::/10"},            // RFC 4291
		{"site-local", "fec0::/10"},            // RFC 3879
		{"multicast", "ff00::/8"},              // RFC 4291
	} {
		rules = append(rules, rule{netip.MustParsePrefix(r.prefix), r.rule})
	}
	return rules
}()
