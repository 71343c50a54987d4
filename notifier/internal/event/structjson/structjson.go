// Package structjson writes a protobuf Struct as JSON, always in the same bytes.
package structjson

import (
	"google.golang.org/protobuf/types/known/structpb"

	"hirewire.dev/notifier/internal/event"
)

// Append appends s as a JSON object with sorted keys. Numbers that JSON does not have become null: refuse them first.
func Append(dst []byte, s *structpb.Struct) []byte {
	return event.AppendObject(dst, s.GetFields(), appendValue)
}

func appendValue(dst []byte, v *structpb.Value) []byte {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return event.AppendString(dst, k.StringValue)
	case *structpb.Value_NumberValue:
		return event.AppendNumber(dst, k.NumberValue)
	case *structpb.Value_BoolValue:
		if k.BoolValue {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case *structpb.Value_StructValue:
		return Append(dst, k.StructValue)
	case *structpb.Value_ListValue:
		dst = append(dst, '[')
		for i, e := range k.ListValue.GetValues() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, e)
		}
		return append(dst, ']')
	default:
		return append(dst, "null"...)
	}
}
