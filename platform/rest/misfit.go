package rest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"hirewire.dev/platform/rpc"
)

// misfit is what is wrong with a request of which no message could be made. What the libraries say of it repeats values.
func (b *binding) misfit(raw []byte) error {
	if b.bodyMessage != nil {
		prefix := ""
		if b.body != "*" {
			prefix = b.body
		}
		if f := misfit(raw, b.bodyMessage, prefix); f != nil {
			return rpc.Invalid(rpc.Violation{Field: f.field, Reason: f.reason}).Err()
		}
	}
	return status.Error(codes.InvalidArgument, "the request does not fit the method")
}

// misfit finds the first field of an object whose value protojson does not take, by giving it each value alone. It returns
// nil when each alone is taken.
func misfit(raw []byte, message protoreflect.MessageDescriptor, path string) *fault {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(raw, &members) // what is not an object has no members
	for _, name := range slices.Sorted(maps.Keys(members)) {
		field := message.Fields().ByJSONName(name)
		if field == nil {
			field = message.Fields().ByTextName(name)
		}
		if field != nil && !fits(field, members[name]) {
			return misfitOf(field, members[name], join(path, string(field.Name())))
		}
	}
	return nil
}

func misfitOf(field protoreflect.FieldDescriptor, value json.RawMessage, path string) *fault {
	switch {
	case field.IsMap():
		var entries map[string]json.RawMessage
		if json.Unmarshal(value, &entries) != nil {
			return &fault{path, "must be an object"}
		}
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			if one, err := json.Marshal(map[string]json.RawMessage{key: entries[key]}); err == nil && !fits(field, one) {
				return misfitOne(field.MapValue(), entries[key], join(path, clip(key)))
			}
		}
	case field.IsList():
		var items []json.RawMessage
		if json.Unmarshal(value, &items) != nil {
			return &fault{path, "must be an array"}
		}
		for i, item := range items {
			if !fits(field, slices.Concat([]byte{'['}, item, []byte{']'})) {
				return misfitOne(field, item, fmt.Sprintf("%s[%d]", path, i))
			}
		}
	}
	return misfitOne(field, value, path)
}

func misfitOne(field protoreflect.FieldDescriptor, value json.RawMessage, path string) *fault {
	if m := field.Message(); m != nil && m.FullName().Parent() != "google.protobuf" {
		if f := misfit(value, m, path); f != nil {
			return f
		}
	}
	return &fault{path, kindOf(field)}
}

// fits says whether a message could be made with this value alone.
func fits(field protoreflect.FieldDescriptor, value json.RawMessage) bool {
	t, err := protoregistry.GlobalTypes.FindMessageByName(field.ContainingMessage().FullName())
	if err != nil {
		return false
	}
	raw, err := json.Marshal(map[string]json.RawMessage{field.JSONName(): value})
	return err == nil && decode.Unmarshal(raw, t.New().Interface()) == nil
}

// kindOf says what JSON a field takes.
func kindOf(field protoreflect.FieldDescriptor) string {
	switch field.Kind() {
	case protoreflect.StringKind:
		return "must be a string"
	case protoreflect.BytesKind:
		return "must be a string of base64"
	case protoreflect.BoolKind:
		return "must be true or false"
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "must be a number that a " + field.Kind().String() + " can hold"
	case protoreflect.EnumKind:
		var names []string
		for i := range field.Enum().Values().Len() {
			if v := field.Enum().Values().Get(i); v.Number() != 0 {
				names = append(names, string(v.Name()))
			}
		}
		return "must be one of " + strings.Join(names, ", ")
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return kindOfMessage(field.Message())
	default:
		return "must be a whole number that an " + field.Kind().String() + " can hold"
	}
}

func kindOfMessage(m protoreflect.MessageDescriptor) string {
	switch m.FullName() {
	case timestamp:
		return rpc.TimeReason
	case "google.protobuf.Duration":
		return "must be a duration such as 3600s"
	case fieldMask:
		return "must be names of fields, joined by commas"
	default:
		return "must be an object"
	}
}
