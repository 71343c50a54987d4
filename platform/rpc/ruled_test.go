package rpc

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"hirewire.dev/platform/internal/testpb"
)

// TestHasRules: a message that is skipped has no rule anywhere, and recursion ends.
func TestHasRules(t *testing.T) {
	ruled := func(m proto.Message) bool {
		return hasRules(m.ProtoReflect().Descriptor(), map[protoreflect.FullName]bool{})
	}
	if ruled(&structpb.Struct{}) {
		t.Error("a Struct has rules")
	}
	file := testpb.File_testpb_test_proto.Messages()
	some := false
	for i := range file.Len() {
		some = some || hasRules(file.Get(i), map[protoreflect.FullName]bool{})
	}
	if !some {
		t.Error("no message of the test's has rules")
	}
}
