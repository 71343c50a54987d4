package egress_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"hirewire.dev/notifier/internal/egress"
)

// CWE-918, CWE-1389, CWE-176, CWE-436: the forms of a URL that lead somewhere else than they seem to.
func TestCheckURLRefuses(t *testing.T) {
	t.Parallel()
	guard := egress.Guard{OwnNames: []string{"notifier.hirewire.test"}, Own: []netip.AddrPort{netip.MustParseAddrPort("1.1.1.1:8002")}}
	for raw, rule := range map[string]string{
		// shape
		"":                         "url",
		"example.com":              "scheme",
		"//example.com":            "scheme",
		"ftp://x.test":             "scheme",
		"file:///etc/passwd":       "scheme",
		"unix:///run/docker.sock":  "scheme",
		"data:,x":                  "scheme",
		"gopher://x.test/":         "scheme",
		"javascript://x.test/":     "scheme",
		"http://public.test":       "scheme",
		"https:public.test":        "scheme",
		"https:///path":            "host",
		"https://":                 "host",
		"HTTPS://":                 "host",
		"https://?q":               "host",
		"https://:443/":            "host-name",
		"https://@h.test":          "userinfo",
		"https://u@h.test":         "userinfo",
		"https://u:p@h.test":       "userinfo",
		"https://h.test#frag":      "fragment",
		"https://h.test/a#":        "fragment",
		"https://h.test:65536":     "port",
		"https://h.test:0":         "port",
		"https://h.test:22":        "port",
		"https://h.test:25":        "port",
		"https://h.test:80":        "port",
		"https://h.test:":          "port",
		"https://h.test:0443":      "port",
		"https://h.test:-1":        "url",
		"https://h.test:+443":      "url",
		"https://h.test:٤٤٣":       "url",
		"https://h.test/ \r\nX: y": "characters",
		"https://h.test/\x00":      "characters",
		"https://h\t.test/":        "characters",
		"https://h\n.test/":        "characters",
		" https://h.test/":         "scheme",
		"https://h.test/ ":         "characters",
		"https://h.test/\x7f":      "characters",
		"https://h.test/ü":         "characters",
		"https://h.test/\xff":      "characters",
		"https://h.test/%zz":       "url",
		"https://h.test/" + strings.Repeat("a", 2048): "length",
		// IPv4 in every radix
		"https://127.255.255.254": "loopback",
		"https://127.0.0.1":       "loopback",
		"https://127.0.0.1:8443/": "loopback",
		"https://127.1":           "numeric-host",
		"https://2130706433":      "numeric-host",
		"https://0x7f000001":      "numeric-host",
		"https://0X7F000001":      "numeric-host",
		"https://0x7f.0.0.1":      "numeric-host",
		"https://0177.0.0.1":      "numeric-host",
		"https://017700000001":    "numeric-host",
		"https://127.0.0.0x1":     "numeric-host",
		"https://127.0.0.0x":      "numeric-host",
		"https://0":               "numeric-host",
		"https://1.1.1.1.1":       "numeric-host",
		"https://256.1.1.1":       "numeric-host",
		"https://h.test.1":        "numeric-host",
		"https://2852039166":      "numeric-host",
		"https://0.0.0.0":         "this-network",
		// names of this machine and of local networks
		"https://localhost":                "loopback-name",
		"https://LOCALHOST":                "loopback-name",
		"https://a.localhost":              "loopback-name",
		"https://localhost.localdomain":    "loopback-name",
		"https://ip6-localhost":            "loopback-name",
		"https://127.0.0.1.":               "trailing-dot",
		"https://localhost.":               "trailing-dot",
		"https://h.test.":                  "trailing-dot",
		"https://intranet":                 "single-label-name",
		"https://bank":                     "single-label-name",
		"https://printer.local":            "local-name",
		"https://db.internal":              "local-name",
		"https://router.home.arpa":         "local-name",
		"https://api.default.svc":          "local-name",
		"https://metadata":                 "metadata-name",
		"https://metadata.google.internal": "metadata-name",
		"https://METADATA.google.internal/computeMetadata/v1/": "metadata-name",
		"https://notifier.hirewire.test":                       "own-name",
		"https://1.1.1.1:8002":                                 "own-address",
		// Unicode that turns into something else
		"https://①②⑦.⓪.⓪.①":                            "loopback",
		"https://１２７.０.０.１":                            "loopback",
		"https://127。0。0。1":                            "loopback",
		"https://ⓛocalhost":                            "loopback-name",
		"https://ｌocalhost":                            "loopback-name",
		"https://local\u00ADhost":                      "loopback-name",
		"https://local\u200Bhost":                      "loopback-name",
		"https://①②⑦.①":                                "numeric-host",
		"https://xn--":                                 "host-name",
		"https://xn--a.test":                           "host-name",
		"https://xn--\u00fc.test":                      "host-name",
		"https://h．test／x.public.test":                 "host-name",
		"https://h\uff0fx.test":                        "host-name",
		"https://h\uff03x.test":                        "host-name",
		"https://u\uff20h.test":                        "host-name",
		"https://" + strings.Repeat("a.", 126) + "aa":  "host-name", // 254 characters
		"https://" + strings.Repeat("a", 64) + ".test": "host-name",
		"https://-bad-.test":                           "host-name",
		"https://a..test":                              "host-name",
		"https://.test":                                "host-name",
		"https://a_b.test":                             "host-name",
		"https://a!b.test":                             "host-name",
		"https://a,b.test":                             "host-name",
		// IPv6
		"https://[::]":               "unspecified",
		"https://[0:0:0:0:0:0:0:1]":  "loopback",
		"https://[::1]:8443":         "loopback",
		"https://[::ffff:7f00:1]":    "loopback",
		"https://[::ffff:127.0.0.1]": "loopback",
		"https://[::ffff:10.0.0.1]":  "private-use",
		"https://[::127.0.0.1]":      "ipv4-compatible",
		"https://[::ffff:0:7f00:1]":  "ipv4-translated",
		"https://[64:ff9b::7f00:1]":  "nat64",
		"https://[64:ff9b:1::a00:1]": "nat64-local",
		"https://[2002:7f00:1::]":    "6to4",
		"https://[2001:0:7f00:1::]":  "teredo",
		"https://[fe80::1%25eth0]":   "zone-id",
		"https://[::1%25lo]":         "zone-id",
		"https://[::1%lo]":           "zone-id",
		"https://[fe80::1]":          "link-local",
		"https://[fd00:ec2::254]":    "cloud-metadata",
		"https://[fd12:3456::1]":     "unique-local",
		"https://[ff02::1]":          "multicast",
		"https://[100::1]":           "discard-only",
		"https://[5f00::1]":          "srv6-sids",
		"https://[fec0::1]":          "site-local",
		"https://[2001:db8::1]":      "documentation",
		"https://[3fff::1]":          "documentation",
		"https://[4000::1]":          "not-global-unicast",
		"https://[1::1]":             "not-global-unicast",
		"https://[127.0.0.1]":        "url",
		"https://[v1.fe]":            "url",
		"https://[::1":               "url",
		"https://::1/":               "url",
		// IPv4 special purpose
		"https://169.254.169.254/latest/meta-data/": "cloud-metadata",
		"https://168.63.129.16":                     "cloud-metadata",
		"https://100.100.100.200":                   "cloud-metadata",
		"https://169.254.1.1":                       "link-local",
		"https://10.0.0.1":                          "private-use",
		"https://172.16.0.1":                        "private-use",
		"https://172.31.255.255":                    "private-use",
		"https://192.168.1.1":                       "private-use",
		"https://100.64.0.1":                        "shared-address",
		"https://192.0.0.1":                         "ietf-protocol",
		"https://192.0.2.1":                         "documentation",
		"https://198.18.0.1":                        "benchmarking",
		"https://198.51.100.1":                      "documentation",
		"https://203.0.113.1":                       "documentation",
		"https://192.88.99.1":                       "6to4-relay",
		"https://224.0.0.1":                         "multicast",
		"https://240.0.0.1":                         "reserved",
		"https://255.255.255.255":                   "broadcast",
		// two readings of one authority
		"https://good.test@127.0.0.1":     "userinfo",
		`https://127.0.0.1\@good.test`:    "characters",
		"https://127.0.0.1%2f@good.test":  "userinfo",
		"https://127.0.0.1%2fgood.test":   "host",
		"https://good.test:80@127.0.0.1/": "userinfo",
		"https://good.test&@127.0.0.1/":   "userinfo",
		"https://good.test%00.evil.test":  "host",
	} {
		_, err := guard.CheckURL(raw)
		blocked, ok := errors.AsType[*egress.BlockedError](err)
		if !ok {
			t.Errorf("%q: got %v, want a refusal by %q", raw, err, rule)
			continue
		}
		if blocked.Rule != rule {
			t.Errorf("%q: refused by %q (%v), want %q", raw, blocked.Rule, err, rule)
		}
	}
}

func TestCheckURLAccepts(t *testing.T) {
	t.Parallel()
	var guard egress.Guard
	for raw, want := range map[string]string{
		"https://bank.example/hooks":            "https://bank.example/hooks",
		"HTTPS://Bank.Example/Hooks?a=b&c":      "https://bank.example/Hooks?a=b&c",
		"https://bank.example":                  "https://bank.example",
		"https://bank.example:443/":             "https://bank.example/",
		"https://bank.example:8443/":            "https://bank.example:8443/",
		"https://bank.example:1024/":            "https://bank.example:1024/",
		"https://bücher.example/":               "https://xn--bcher-kva.example/",
		"https://xn--bcher-kva.example/":        "https://xn--bcher-kva.example/",
		"https://ｂａｎｋ.example/":                 "https://bank.example/",
		"https://1.1.1.1/":                      "https://1.1.1.1/",
		"https://[2606:4700::1111]/":            "https://[2606:4700::1111]/",
		"https://[2606:4700:0:0:0::1111]:8443/": "https://[2606:4700::1111]:8443/",
		"https://good.test/http://127.0.0.1/":   "https://good.test/http://127.0.0.1/",
		"https://a.b.c.co.uk/%C3%BC":            "https://a.b.c.co.uk/%C3%BC",
		"https://0x.bank.test/":                 "https://0x.bank.test/",
		"https://12.bank.test/":                 "https://12.bank.test/",
		"https://notlocalhost.test/":            "https://notlocalhost.test/",
	} {
		target, err := guard.CheckURL(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := target.URL.String(); got != want {
			t.Errorf("%s: sent as %s, want %s", raw, got, want)
		}
	}
}

func TestCheckURLWithExceptions(t *testing.T) {
	t.Parallel()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	private := []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")}
	for _, tt := range []struct {
		guard egress.Guard
		url   string
		rule  string // empty: accepted
	}{
		{egress.Guard{Allow: loopback}, "https://127.0.0.1:40000/webhooks/employees", ""},
		{egress.Guard{Allow: loopback}, "https://[::1]:40000/", ""},
		{egress.Guard{Allow: loopback}, "https://[::ffff:127.0.0.1]:40000/", ""},
		{egress.Guard{Allow: loopback}, "https://localhost:40000/", ""},
		{egress.Guard{Allow: loopback}, "https://127.0.0.1:22/", "port"},
		{egress.Guard{Allow: loopback}, "https://127.1:40000/", "numeric-host"},
		{egress.Guard{Allow: loopback}, "https://10.0.0.1/", "private-use"},
		{egress.Guard{Allow: loopback}, "https://bank/", "single-label-name"},
		{egress.Guard{Allow: loopback}, "http://127.0.0.1:40000/", "scheme"},
		{egress.Guard{Allow: loopback, AllowHTTP: true}, "http://127.0.0.1:40000/", ""},
		{egress.Guard{AllowHTTP: true}, "http://bank.test/", ""},
		{egress.Guard{AllowHTTP: true}, "https://bank.test:80/", "port"},
		{egress.Guard{Ports: []uint16{444}}, "https://bank.test:444/", ""},
		{egress.Guard{Allow: private}, "https://bank-a:8003/", ""},
		{egress.Guard{Allow: private}, "https://172.18.0.3:8003/", ""},
		{egress.Guard{Allow: private}, "https://172.19.0.3:8003/", "private-use"},
		{egress.Guard{Allow: private}, "https://localhost:8003/", "loopback-name"},
		{egress.Guard{Allow: private}, "https://metadata/", "metadata-name"},
	} {
		_, err := tt.guard.CheckURL(tt.url)
		blocked, _ := errors.AsType[*egress.BlockedError](err)
		switch {
		case tt.rule == "" && err != nil:
			t.Errorf("%s with %v: %v", tt.url, tt.guard.Allow, err)
		case tt.rule != "" && (blocked == nil || blocked.Rule != tt.rule):
			t.Errorf("%s with %v: got %v, want a refusal by %q", tt.url, tt.guard.Allow, err, tt.rule)
		}
	}
}

// CWE-209, CWE-117: what a refusal says can be shown and logged.
func TestRefusalHoldsNoSecret(t *testing.T) {
	t.Parallel()
	var guard egress.Guard
	for _, raw := range []string{
		"https://user:PLANTED@127.0.0.1/PLANTED?key=PLANTED", "https://127.0.0.1/PLANTED?key=PLANTED#PLANTED",
		"https://localhost:22/PLANTED", "https://h.test/\nPLANTED", "https://\x1b[31mPLANTED", "ftp://PLANTED",
	} {
		_, err := guard.CheckURL(raw)
		if err == nil || strings.Contains(err.Error(), "PLANTED") || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{"https://bank.example/hooks", "https://①②⑦.⓪.⓪.①", "https://[::ffff:7f00:1]:8443/", "https://a@b:1/#", "http://0x7f.1/"} {
		f.Add(seed)
	}
	guard := egress.Guard{AllowHTTP: true}
	f.Fuzz(func(t *testing.T, raw string) {
		target, err := guard.CheckURL(raw)
		if err != nil {
			if _, ok := errors.AsType[*egress.BlockedError](err); !ok {
				t.Fatalf("%q: %v is no refusal", raw, err)
			}
			return
		}
		again, err := guard.CheckURL(target.URL.String())
		if err != nil || again.URL.String() != target.URL.String() || again.Host != target.Host {
			t.Fatalf("%q became %q, which reads as %+v (%v)", raw, target.URL, again, err)
		}
		if target.URL.User != nil || target.URL.Fragment != "" {
			t.Fatalf("%q: passed", raw)
		}
		if addr, err := netip.ParseAddr(target.Host); err == nil && guard.CheckAddr(addr) != nil {
			t.Fatalf("%q: the address %s passed", raw, addr)
		}
	})
}
