package egress

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxURL is how long a URL may be, in bytes.
const MaxURL = 2048

// A Target is a URL that passed, in the one form in which it is dialled and sent.
type Target struct {
	// URL has a lower-case ASCII host and nothing that parsers read differently.
	URL *url.URL
	// Host is the name, ASCII and lower case, or the address.
	Host string
	// Port is the URL's port or the default of its scheme.
	Port uint16
	// Addr is set when the host is an address.
	Addr netip.Addr
}

// CheckURL reads a subscription's URL and refuses what must not, or cannot safely, be sent to. It does not resolve names:
// that is Control's part, at each dial. The error is a *BlockedError.
func (g *Guard) CheckURL(raw string) (Target, error) {
	authority, err := g.checkText(raw)
	if err != nil {
		return Target{}, err
	}
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Host != authority {
		return Target{}, &BlockedError{Rule: "url", Subject: "it cannot be read as scheme://host/path"}
	}
	u.Scheme = strings.ToLower(u.Scheme)
	t := Target{URL: u}
	if t.Port, err = g.urlPort(u, authority); err != nil {
		return Target{}, err
	}
	if t.Host, t.Addr, err = g.checkHost(u.Host, u.Hostname()); err != nil {
		return Target{}, err
	}
	if t.Addr.IsValid() {
		if err := g.CheckAddrPort(netip.AddrPortFrom(t.Addr, t.Port)); err != nil {
			return Target{}, err
		}
	}
	u.Host = t.Host
	if t.Addr.Is6() {
		u.Host = "[" + t.Host + "]"
	}
	if u.Scheme == "https" && t.Port != 443 || u.Scheme == "http" && t.Port != 80 {
		u.Host += ":" + strconv.Itoa(int(t.Port))
	}
	return t, nil
}

// checkText looks at the URL as text, before a parser interprets it, and cuts the authority out.
func (g *Guard) checkText(raw string) (authority string, err error) {
	refuse := func(rule, reason string) (string, error) { return "", &BlockedError{Rule: rule, Subject: reason} }
	if raw == "" {
		return refuse("url", "it is empty")
	}
	if len(raw) > MaxURL {
		return refuse("length", "the URL has more than 2048 bytes")
	}
	if !utf8.ValidString(raw) {
		return refuse("characters", "the URL is not valid UTF-8")
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return refuse("scheme", "the URL must begin with https://")
	}
	switch s := strings.ToLower(scheme); {
	case s == "https", s == "http" && g.AllowHTTP:
	case s == "http":
		return refuse("scheme", "plain http:// is not allowed here; use https://")
	default:
		return refuse("scheme", "the URL must begin with https://")
	}
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c == 0x7f || c == '\\' {
			return refuse("characters", "the URL holds a space, a control character or a backslash")
		}
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority = rest[:end]
	for i := end; i < len(rest); i++ {
		if rest[i] >= utf8.RuneSelf {
			return refuse("characters", "characters outside ASCII in the path or query must be percent-encoded")
		}
	}
	switch {
	case authority == "":
		return refuse("host", "the URL has no host")
	case strings.Contains(authority, "@"):
		return refuse("userinfo", "the URL holds a user name")
	case strings.Contains(authority, "%"):
		if strings.HasPrefix(authority, "[") {
			return refuse("zone-id", "the address has a zone")
		}
		return refuse("host", "the host is percent-encoded")
	case strings.Contains(rest, "#"):
		return refuse("fragment", "the URL has a fragment")
	}
	return authority, nil
}

func (g *Guard) urlPort(u *url.URL, authority string) (uint16, error) {
	text := u.Port()
	if text == "" {
		if strings.HasSuffix(authority, ":") {
			return 0, &BlockedError{Rule: "port", Subject: "the port is empty"}
		}
		if u.Scheme == "http" {
			return 80, nil
		}
		return 443, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || text[0] == '0' {
		return 0, &BlockedError{Rule: "port", Subject: "the port is not a number from 1 to 65535"}
	}
	return uint16(n), g.checkPort(uint16(n), u.Scheme == "http")
}
