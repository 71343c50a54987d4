package serve

import (
	"fmt"
	"strings"
	"testing"
)

func TestHead(t *testing.T) {
	const get, post = "GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n"
	for _, tt := range []struct {
		name, in string
		want     int32
	}{
		{"plain", get + "Host: a\r\n\r\n", faultNone},
		{"two requests with bodies", strings.Repeat(post+"Content-Length: 7\r\n\r\n\n\x00: \r\n\r", 2) + get + "A: b\r\n\r\n", faultNone},
		{"chunked", post + "Transfer-Encoding: chunked\r\n\r\n5\r\nab\ncd\r\n0\r\n\r\n", faultNone},
		{"length then chunked", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", faultFraming},
		{"chunked then length", post + "Transfer-Encoding: chunked\r\ncontent-length:3\r\n\r\n", faultFraming},
		{"in the second request", post + "Content-Length: 2\r\n\r\nab" + post + "Content-Length: 3\r\ntransfer-encoding: chunked\r\n\r\n", faultFraming},
		{"two lengths", post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", faultFraming},
		{"a list of lengths", post + "Content-Length: 3, 3\r\n\r\n", faultFraming},
		{"a signed length", post + "Content-Length: +3\r\n\r\n", faultFraming},
		{"bare LF", get + "A: b\n\r\n", faultFraming},
		{"bare LF at the end", get + "A: b\r\n\n", faultFraming},
		{"folded", get + "A: b\r\n c: d\r\n\r\n", faultFraming},
		{"folded by a tab", get + "A: b\r\n\tc\r\n\r\n", faultFraming},
		{"NUL", get + "A: b\x00c\r\n\r\n", faultFraming},
		{"100 fields", get + strings.Repeat("A: b\r\n", 100) + "\r\n", faultNone},
		{"101 fields", get + strings.Repeat("A: b\r\n", 101) + "\r\n", faultTooMany},
		{"a long line", get + "A: " + strings.Repeat("b", 5000) + "\r\nContent-Length: 1\r\n\r\nx" + get + "\r\n", faultNone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 3, 7, 4096} {
				h := head{length: -1}
				for in := tt.in; in != ""; {
					n := min(piece, len(in))
					h.read([]byte(in[:n]))
					in = in[n:]
				}
				if got := h.fault(); got != tt.want {
					t.Errorf("in pieces of %d: %d", piece, got)
				}
			}
		})
	}
}

func TestCanonical(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/v1/things": true, "/v1/things/": true, "/v1/a%2Fb": true, "/v1/..%2F..": true, "/v1/a.b": true, "/v1/...": true,
		"": false, "v1": false, "//": false, "//v1": false, "/v1//a": false, "/v1//": false, "/./v1": false, "/v1/.": false,
		"/v1/../a": false, "/v1/..": false, "/v1/%2e%2E/a": false, "/v1/.%2e": false,
	} {
		if got := canonical(path); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n", 3)
	f.Fuzz(func(t *testing.T, in string, piece int) {
		whole, parts := head{length: -1}, head{length: -1}
		whole.read([]byte(in))
		for rest := in; rest != ""; {
			n := max(1, min(piece, len(rest)))
			parts.read([]byte(rest[:n]))
			rest = rest[n:]
		}
		if a, b := fmt.Sprint(whole.fault(), whole.body), fmt.Sprint(parts.fault(), parts.body); a != b {
			t.Errorf("whole %s, in parts %s", a, b)
		}
		if len(whole.line) > maxLine {
			t.Errorf("keeps %d bytes", len(whole.line))
		}
	})
}
