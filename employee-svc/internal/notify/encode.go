// Package notify speaks to the notifier: it writes events in the notifier's form, and publishes them.
package notify

import (
	"encoding/binary"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"hirewire.dev/employee-svc/internal/employee"
)

// Field numbers of hirewire.notifier.v1.Event, and of the well-known types in it.
const (
	eventID          = 1
	eventType        = 2
	eventTimestamp   = 3
	eventData        = 4
	eventTraceparent = 5

	timestampSeconds = 1
	timestampNanos   = 2

	structFields = 1
	entryKey     = 1
	entryValue   = 2
	valueNumber  = 2
	valueString  = 3
	valueStruct  = 5
)

// timeFormat is that of times in an event's data.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// Encode is the event as a hirewire.notifier.v1.Event in protobuf's wire format, with data {"employee": {…}}: the employee's
// fields by their names in the API. It is written by hand because a google.protobuf.Struct of objects costs more than the
// whole rest of a create. It is stored like this and sent like this.
func Encode(e employee.Event) ([]byte, error) {
	var scratch [1024]byte
	data := appendEmployee(scratch[:0], &e.Employee)
	size := len(e.ID) + len(e.Type) + len(data) + len(e.Traceparent) + 64
	b := make([]byte, 0, size)
	b = appendString(b, eventID, e.ID)
	b = appendString(b, eventType, string(e.Type))
	b = appendTimestamp(b, eventTimestamp, e.At)
	entry := protowire.SizeTag(entryKey) + protowire.SizeBytes(len("employee")) + sizeValueStruct(len(data))
	b = protowire.AppendTag(b, eventData, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(structFields)+protowire.SizeBytes(entry)))
	b = protowire.AppendTag(b, structFields, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(entry))
	b = appendString(b, entryKey, "employee")
	b = protowire.AppendTag(b, entryValue, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(valueStruct)+protowire.SizeBytes(len(data))))
	b = protowire.AppendTag(b, valueStruct, protowire.BytesType)
	b = protowire.AppendBytes(b, data)
	if e.Traceparent != "" {
		b = appendString(b, eventTraceparent, e.Traceparent)
	}
	return b, nil
}

// sizeValueStruct is the size of an entry's value that is a Value that is a Struct of n bytes.
func sizeValueStruct(n int) int {
	return protowire.SizeTag(entryValue) + protowire.SizeBytes(protowire.SizeTag(valueStruct)+protowire.SizeBytes(n))
}

// appendEmployee appends the employee as a google.protobuf.Struct.
func appendEmployee(b []byte, e *employee.Employee) []byte {
	b = appendStringField(b, "id", e.ID)
	b = appendStringField(b, "employee_number", e.Number)
	b = appendStringField(b, "given_name", e.GivenName)
	b = appendStringField(b, "family_name", e.FamilyName)
	b = appendStringField(b, "email", e.Email)
	b = appendStringField(b, "job_title", e.JobTitle)
	b = appendStringField(b, "department", e.Department)
	b = appendStringField(b, "hire_date", e.HireDate)
	b = appendStringField(b, "country", e.Country)
	b = appendStringField(b, "currency", e.Currency)
	b = appendStringField(b, "status", e.Status.String())
	b = appendNumberField(b, "version", float64(e.Version))
	var text [len(timeFormat)]byte
	b = appendStringField(b, "created_at", string(e.CreatedAt.AppendFormat(text[:0], timeFormat)))
	return appendStringField(b, "updated_at", string(e.UpdatedAt.AppendFormat(text[:0], timeFormat)))
}

func appendStringField(b []byte, key, value string) []byte {
	inner := protowire.SizeTag(valueString) + protowire.SizeBytes(len(value))
	b = appendEntry(b, key, inner)
	return appendString(b, valueString, value)
}

func appendNumberField(b []byte, key string, value float64) []byte {
	b = appendEntry(b, key, protowire.SizeTag(valueNumber)+protowire.SizeFixed64())
	b = protowire.AppendTag(b, valueNumber, protowire.Fixed64Type)
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(value))
}

// appendEntry appends an entry of a Struct's fields up to its value, which takes inner bytes.
func appendEntry(b []byte, key string, inner int) []byte {
	b = protowire.AppendTag(b, structFields, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(entryKey)+protowire.SizeBytes(len(key))+
		protowire.SizeTag(entryValue)+protowire.SizeBytes(inner)))
	b = appendString(b, entryKey, key)
	b = protowire.AppendTag(b, entryValue, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(inner))
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func appendTimestamp(b []byte, field protowire.Number, t time.Time) []byte {
	seconds, nanos := uint64(t.Unix()), uint64(t.Nanosecond())
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(timestampSeconds)+protowire.SizeVarint(seconds)+
		protowire.SizeTag(timestampNanos)+protowire.SizeVarint(nanos)))
	b = protowire.AppendTag(b, timestampSeconds, protowire.VarintType)
	b = protowire.AppendVarint(b, seconds)
	b = protowire.AppendTag(b, timestampNanos, protowire.VarintType)
	return protowire.AppendVarint(b, nanos)
}
