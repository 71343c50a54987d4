package rpc

import (
	"fmt"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

// checkText refuses U+0000 in the strings of a request: PostgreSQL cannot store it. What the rules are told to ignore, its
// service checks by itself.
func checkText(m protoreflect.Message) error {
	if field, found := findNUL(m); found {
		return Invalid(Violation{Field: field[1:], Reason: "must not contain U+0000"}).Err()
	}
	return nil
}

// findNUL gives the path of a field that holds U+0000, with a dot before each name. A map is named as a whole:
// its keys are the caller's text. The path is made on the way back, so a message without a NUL costs none.
func findNUL(m protoreflect.Message) (path string, found bool) {
	if _, ok := m.Interface().(*structpb.Struct); ok { // is stored as JSON, which escapes it
		return "", false
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			v.Map().Range(func(key protoreflect.MapKey, v protoreflect.Value) bool {
				if _, found = findNULIn(f.MapKey(), key.Value()); !found {
					_, found = findNULIn(f.MapValue(), v)
				}
				return !found
			})
		case f.IsList():
			for i := 0; i < v.List().Len() && !found; i++ {
				if path, found = findNULIn(f, v.List().Get(i)); found {
					path = fmt.Sprintf("[%d]%s", i, path)
				}
			}
		default:
			path, found = findNULIn(f, v)
		}
		if found = found && !ignored(f); found {
			path = "." + string(f.Name()) + path
		}
		return !found
	})
	return path, found
}

func findNULIn(f protoreflect.FieldDescriptor, v protoreflect.Value) (path string, found bool) {
	switch {
	case f.Kind() == protoreflect.StringKind:
		return "", hasNUL(v.String())
	case f.Message() != nil:
		return findNUL(v.Message())
	}
	return "", false
}

func ignored(f protoreflect.FieldDescriptor) bool {
	rules, _ := proto.GetExtension(f.Options(), validate.E_Field).(*validate.FieldRules)
	return rules.GetIgnore() == validate.Ignore_IGNORE_ALWAYS
}

func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }
