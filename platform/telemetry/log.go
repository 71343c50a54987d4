package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// LogConfig says what is logged and how.
type LogConfig struct {
	// Level is debug, info, warn or error; "" is info.
	Level string
	// Format is json or text; "" is json.
	Format string
}

// NewLogger makes a logger that writes one line to w for each record, in one
// call, with control characters escaped (CWE-117). Times are UTC.
func NewLogger(w io.Writer, cfg LogConfig) (*slog.Logger, error) {
	var level slog.Level
	if cfg.Level != "" {
		if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
			return nil, fmt.Errorf("log level %q: must be debug, info, warn or error", cfg.Level)
		}
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: utc}
	switch strings.ToLower(cfg.Format) {
	case "", "json":
		return slog.New(slog.NewJSONHandler(escaper{w}, opts)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	default:
		return nil, fmt.Errorf("log format %q: must be json or text", cfg.Format)
	}
}

func utc(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	}
	return a
}

// escaper escapes what JSON lets through and a terminal obeys: the C1 control
// characters and DEL, and those that turn the direction of writing around.
type escaper struct{ w io.Writer }

func (e escaper) Write(line []byte) (int, error) {
	var err error
	if i := strange(line, 0); i < 0 {
		_, err = e.w.Write(line)
	} else {
		_, err = e.w.Write(escape(line, i))
	}
	return len(line), err
}

// strange is where the next character to escape is from from on; -1 if none.
func strange(line []byte, from int) int {
	for i := from; i < len(line); i++ {
		switch c := line[i]; {
		case c == 0x7f:
			return i
		case c == 0xc2 && i+1 < len(line) && line[i+1] < 0xa0: // U+0080 to U+009F
			return i
		case c == 0xe2 && i+2 < len(line) && direction(line[i+1], line[i+2]):
			return i
		}
	}
	return -1
}

// direction tells U+200E, U+200F, U+202A to U+202E and U+2066 to U+2069, whose
// first byte in UTF-8 is 0xE2.
func direction(second, third byte) bool {
	return second == 0x80 && (third == 0x8e || third == 0x8f || third >= 0xaa && third <= 0xae) ||
		second == 0x81 && third >= 0xa6 && third <= 0xa9
}

func escape(line []byte, i int) []byte {
	out := make([]byte, 0, len(line)+16)
	done := 0
	for ; i >= 0; i = strange(line, done) {
		out = append(out, line[done:i]...)
		size := 1
		switch line[i] {
		case 0xc2:
			size = 2
		case 0xe2:
			size = 3
		}
		out = fmt.Appendf(out, `\u%04x`, []rune(string(line[i : i+size]))[0])
		done = i + size
	}
	return append(out, line[done:]...)
}
