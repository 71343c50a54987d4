//go:build linux || darwin || freebsd || netbsd || openbsd

package sqldb

import (
	"syscall"
)

// stale reports whether the server has closed an idle connection or has sent
// its farewell on it. It costs one system call, and spares the next statement
// a doomed exchange whose outcome nobody could tell.
func (w *wire) stale() bool {
	sc, ok := w.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	stale := false
	err = raw.Control(func(fd uintptr) {
		var first [1]byte
		n, _, err := syscall.Recvfrom(int(fd), first[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EAGAIN || err == syscall.EINTR:
		case err != nil || n == 0:
			stale = true
		default:
			// Between statements a healthy server may report a changed
			// parameter, a notice or a notification; an error is a farewell.
			// Under TLS (record types 20 to 24) nothing should come at all.
			switch first[0] {
			case 'S', 'N', 'A':
			default:
				stale = true
			}
		}
	})
	return stale || err != nil
}
