//go:build unix

package httpsend

import "syscall"

// alive looks at the socket, without waiting and without taking anything: an idle connection must be open and silent. What
// has come unasked (the end, a TLS alert, an answer to nothing) makes it useless.
func (c *conn) alive() bool {
	sc, ok := c.tcp.(syscall.Conn)
	if !ok {
		return true
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	silent := false
	err = rc.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		silent = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
		return true
	})
	return err == nil && silent
}
