package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// screen shows progress: one line that changes on a terminal, a line now and then elsewhere.
type screen struct {
	out      io.Writer
	terminal bool
	last     time.Time
	shown    string
}

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	return &screen{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// Update replaces the changing line.
func (s *screen) Update(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	every := 2 * time.Second
	if s.terminal {
		every = 80 * time.Millisecond
	}
	if line == s.shown || time.Since(s.last) < every {
		return
	}
	s.last, s.shown = time.Now(), line
	if s.terminal {
		fmt.Fprintf(s.out, "\r\x1b[K  %s", line)
	} else {
		fmt.Fprintf(s.out, "  %s\n", line)
	}
}

// Keep prints a line that stays.
func (s *screen) Keep(format string, args ...any) {
	s.Clear()
	fmt.Fprintf(s.out, "  "+format+"\n", args...)
}

// Clear removes the changing line.
func (s *screen) Clear() {
	if s.terminal && s.shown != "" {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
	s.shown = ""
}
