package telemetry

import (
	"fmt"
	"log/slog"
)

const masked = "***"

// Secret is a string that authenticates or encrypts. However it is printed,
// logged or marshalled, *** comes out; Reveal gives the value. Keep it in
// exported fields and out of the keys of maps: package fmt cannot ask the value
// of an unexported field how it wants to be printed, and encoding/json does not
// ask the key of a map; both print it raw.
type Secret string

// PII is a string that identifies a person. However it is printed, logged or
// marshalled, *** comes out; Reveal gives the value. Keep it where a Secret may
// be kept.
type PII string

// Reveal gives the value itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// String prints ***.
func (Secret) String() string { return masked }

// GoString prints ***.
func (Secret) GoString() string { return masked }

// Format prints *** for every verb and flag.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// MarshalText writes ***.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// MarshalJSON writes "***".
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + masked + `"`), nil }

// LogValue logs ***.
func (Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// Reveal gives the value itself, for the one place that needs it.
func (p PII) Reveal() string { return string(p) }

// String prints ***.
func (PII) String() string { return masked }

// GoString prints ***.
func (PII) GoString() string { return masked }

// Format prints *** for every verb and flag.
func (PII) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// MarshalText writes ***.
func (PII) MarshalText() ([]byte, error) { return []byte(masked), nil }

// MarshalJSON writes "***".
func (PII) MarshalJSON() ([]byte, error) { return []byte(`"` + masked + `"`), nil }

// LogValue logs ***.
func (PII) LogValue() slog.Value { return slog.StringValue(masked) }
