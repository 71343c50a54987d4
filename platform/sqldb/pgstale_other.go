//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package sqldb

// stale cannot be told here; the first statement finds out.
func (w *wire) stale() bool { return false }
