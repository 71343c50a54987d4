// Package httpsend POSTs signed webhooks to receivers that may be slow, broken or hostile, and says what came of each
// attempt.
//
// The status line decides: once a 2xx status and its headers are here the attempt is delivered, whatever becomes of the
// body, which has no meaning and is read (64 KiB at most) for the snippet and to use the connection again. Redirects are
// never followed and 1xx answers are skipped, a few of them. There are no cookies, no proxies, no compression.
//
// It speaks HTTP/1.1 over connections of its own: a request is written in one piece and the answer read by
// http.ReadResponse, on the goroutine of the caller. net/http's Transport, with two goroutines for each connection and a
// request and a context made for each call, takes about three times the CPU (see BenchmarkSend and its comparison), and
// leaves less say over limits: here headers, 1xx answers, trailers and bodies are bounded by one budget of bytes below the
// parser. A connection is used again only after a whole answer with nothing behind it, and only while a look at its socket
// says that it is open; a request of which a byte was written is never sent again within an attempt.
package httpsend
