package settings

import (
	"errors"
	"fmt"
	"io"
)

// ExitUsage is the status of a program that was given bad settings.
const ExitUsage = 2

// ExitCode prints the error that ends a program on stderr and gives the status
// to end it with: 0 for --help, ExitUsage for an *Error, otherwise 1.
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
	return 1
}
