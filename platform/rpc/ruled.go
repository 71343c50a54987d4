package rpc

import (
	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// hasRules says whether anything in a message, or in what it is made of, has a rule. Where nothing has, there is no need to
// look: protovalidate would walk through every value of a Struct to find that out.
func hasRules(d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if seen[d.FullName()] {
		return false
	}
	seen[d.FullName()] = true
	if proto.HasExtension(d.Options(), validate.E_Message) {
		return true
	}
	for i := range d.Oneofs().Len() {
		if proto.HasExtension(d.Oneofs().Get(i).Options(), validate.E_Oneof) {
			return true
		}
	}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if proto.HasExtension(f.Options(), validate.E_Field) {
			return true
		}
		if f.IsMap() {
			f = f.MapValue()
		}
		if f.Message() != nil && hasRules(f.Message(), seen) {
			return true
		}
	}
	return false
}
