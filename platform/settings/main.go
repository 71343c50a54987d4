package settings

import (
	"errors"
	"fmt"
	"io"
)

// ExitUsage is the status of a program that was given bad settings.
const ExitUsage = 2

// ExitCode prints err, as Parse returned it, on stderr and gives the status to
// end the program with: 0 for --help, otherwise ExitUsage.
func ExitCode(program string, err error, stderr io.Writer) int {
	if errors.Is(err, ErrHelp) {
		return 0
	}
	if e, ok := errors.AsType[*Error](err); ok {
		for _, p := range e.Problems {
			_, _ = fmt.Fprintf(stderr, "%s: %s\n", program, p)
		}
		_, _ = fmt.Fprintf(stderr, "%s: see --help\n", program)
		return ExitUsage
	}
	_, _ = fmt.Fprintf(stderr, "%s: %v\n", program, err)
	return ExitUsage
}
