package sqldbtest

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

var announced sync.Map

// LeaveOut skips the test and says so where people see it. go test swallows the
// output of packages that pass, so the line goes to the stderr of go test
// itself where that can be reached, once for each reason and package.
func LeaveOut(tb testing.TB, reason string) {
	tb.Helper()
	if _, again := announced.LoadOrStore(reason, true); !again {
		line := "LEFT OUT of " + testedPackage() + ": " + reason + "\n"
		out := os.Stderr
		if parent, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", os.Getppid()), os.O_WRONLY|os.O_APPEND, 0); err == nil {
			defer parent.Close()
			out = parent
		}
		fmt.Fprint(out, line)
	}
	tb.Skip("LEFT OUT: " + reason)
}

// testedPackage is the folder of the package under test, in which go test runs it.
func testedPackage() string {
	dir, err := os.Getwd()
	if err != nil {
		return "this package"
	}
	return dir
}
