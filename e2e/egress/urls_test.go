//go:build linux

package egress_test

import "strings"

// hostileURLs must be refused when they are given, at create and at update.
var hostileURLs = []string{
	"", "good.test", "ftp://good.test/", "file:///etc/passwd", "unix:///run/docker.sock", "data:,x", "https://", "HTTPS:///x",
	"http://good.test/", "https://@good.test/", "https://good.test/#frag", "https://good.test:65536/", "https://good.test:22/", "https://good.test:0/",
	"https://good.test/ \r\nX: y", "https://good\t.test/", "https://good\n.test/", "https://good.test\\@127.0.0.1/",

	"https://127.0.0.1/", "https://127.255.255.254/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://017700000001/",
	"https://0/", "https://0.0.0.0/", "https://localhost/", "https://LOCALHOST/", "https://a.localhost/", "https://localhost.localdomain/", "https://127.0.0.1./",
	"https://①②⑦.⓪.⓪.①/", "https://ⓛocalhost/", "https://ｌocalhost/", "https://local\u00ADhost/", "https://xn--/", "https://" + strings.Repeat("a.", 127) + "b/", "https://-bad-.test/",

	"https://[::]/", "https://[::1]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::ffff:7f00:1]/", "https://[::ffff:127.0.0.1]/", "https://[::127.0.0.1]/",
	"https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::a00:1]/", "https://[2002:7f00:1::]/", "https://[2001::1]/",
	"https://[fe80::1%25eth0]/", "https://[fe80::1%25lo]/", "https://[::1%25lo]/", "https://[fd00:ec2::254]/", "https://[ff02::1]/", "https://[100::1]/", "https://[5f00::1]/", "https://[fec0::1]/", "https://[2001:db8::1]/",

	"https://169.254.169.254/", "https://2852039166/", "https://metadata.google.internal/", "https://10.0.0.1/", "https://172.16.0.1/", "https://172.31.255.255/", "https://192.168.0.1/",
	"https://100.64.0.1/", "https://192.0.0.1/", "https://192.0.2.1/", "https://198.18.0.1/", "https://198.51.100.1/", "https://203.0.113.1/", "https://192.88.99.1/",
	"https://224.0.0.1/", "https://240.0.0.1/", "https://255.255.255.255/",
	"https://good.test@127.0.0.1/", "https://127.0.0.1\\@good.test/", "https://127.0.0.1%2f@good.test/", "https://intranet/", "https://db.internal/", "https://printer.local/",
}
