package rest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"hirewire.dev/platform/rpc"
)

// route is what grpc-gateway knows when it has chosen a handler.
type route struct{ rpc, method, pattern string }

// binding is one google.api.http rule of a method.
type binding struct {
	input        protoreflect.MessageDescriptor
	body         string // "", "*" or a field
	bodyMessage  protoreflect.MessageDescriptor
	taken        []string // field paths that the path sets
	requestID    protoreflect.FieldDescriptor
	mask         protoreflect.FieldDescriptor // update_mask
	clientStream bool
}

// bind reads the rules of a service. A service without a descriptor has no routes and needs none.
func (g *Gateway) bind(desc *grpc.ServiceDesc) {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(desc.ServiceName))
	if err != nil {
		return
	}
	service, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return
	}
	for i := range service.Methods().Len() {
		m := service.Methods().Get(i)
		rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
		if !ok || rule == nil {
			continue
		}
		full := fmt.Sprintf("/%s/%s", service.FullName(), m.Name())
		for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
			method, pattern := verb(r)
			g.routes[route{full, method, pattern}] = newBinding(m, r.GetBody(), pattern)
			g.paths = append(g.paths, newPath(method, pattern))
		}
	}
}

func newBinding(m protoreflect.MethodDescriptor, body, pattern string) *binding {
	b := &binding{input: m.Input(), body: body, clientStream: m.IsStreamingClient()}
	switch {
	case body == "*":
		b.bodyMessage = m.Input()
	case body != "":
		if f := m.Input().Fields().ByName(protoreflect.Name(body)); f != nil && f.Cardinality() != protoreflect.Repeated {
			b.bodyMessage = f.Message()
		}
	}
	for _, part := range strings.Split(pattern, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		name, _, _ = strings.Cut(name, "=")
		b.taken = append(b.taken, name)
	}
	if f := m.Input().Fields().ByName("request_id"); f != nil && f.Kind() == protoreflect.StringKind && !f.IsList() {
		b.requestID = f
	}
	if f := m.Input().Fields().ByName("update_mask"); f != nil && f.Message() != nil && f.Message().FullName() == fieldMask {
		b.mask = f
	}
	return b
}

func verb(r *annotations.HttpRule) (method, pattern string) {
	switch p := r.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return http.MethodGet, p.Get
	case *annotations.HttpRule_Put:
		return http.MethodPut, p.Put
	case *annotations.HttpRule_Post:
		return http.MethodPost, p.Post
	case *annotations.HttpRule_Delete:
		return http.MethodDelete, p.Delete
	case *annotations.HttpRule_Patch:
		return http.MethodPatch, p.Patch
	case *annotations.HttpRule_Custom:
		return p.Custom.GetKind(), p.Custom.GetPath()
	}
	return "", ""
}

const (
	notUTF8 = "must be valid UTF-8"
	twice   = "given more than once"
)

// checkQuery refuses parameters that set nothing, that something else sets, or whose value does not fit: grpc-gateway
// ignores the first two.
func (b *binding) checkQuery(raw string) error {
	if raw == "" {
		return nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return status.Error(codes.InvalidArgument, "malformed query")
	}
	var violations []rpc.Violation
	seen := make(map[string]bool, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name, entry, _ := strings.Cut(key, "[")
		path, _ := b.resolve(name)
		reason := b.checkParameter(key, values[key])
		if reason == "" && seen[path+"["+entry] {
			reason = twice // by its other spelling
		}
		seen[path+"["+entry] = true
		if reason != "" {
			violations = append(violations, rpc.Violation{Field: clip(key), Reason: reason})
		}
	}
	if len(violations) > 0 {
		return rpc.Invalid(violations...).Err()
	}
	return nil
}

func (b *binding) checkParameter(key string, values []string) (reason string) {
	const unknown = "unknown query parameter"
	if !utf8.ValidString(key) || slices.ContainsFunc(values, func(v string) bool { return !utf8.ValidString(v) }) {
		return notUTF8
	}
	if b.body == "*" {
		return unknown // everything is in the body
	}
	name, entry, isEntry := strings.Cut(key, "[")
	path, field := b.resolve(name)
	if field == nil || isEntry != field.IsMap() || isEntry && !strings.HasSuffix(entry, "]") {
		return unknown
	}
	if b.body != "" && (path == b.body || strings.HasPrefix(path, b.body+".")) {
		return unknown
	}
	if slices.Contains(b.taken, path) {
		return unknown
	}
	if len(values) > 1 && !field.IsList() {
		return twice
	}
	if field.Message() != nil && field.Message().FullName() == fieldMask && slices.Contains(values, "") {
		return "must name fields"
	}
	if !isEntry && field.Message() != nil && field.Message().FullName() == timestamp {
		for _, v := range values {
			if _, err := rpc.ParseTime(v); err != nil {
				return rpc.TimeReason
			}
		}
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(b.input.FullName())
	if err != nil {
		return ""
	}
	if err := runtime.PopulateQueryParameters(t.New().Interface(), url.Values{key: values}, utilities.NewDoubleArray(nil)); err != nil {
		return "not a valid value"
	}
	return ""
}

// resolve follows a dotted path of proto or JSON names.
func (b *binding) resolve(dotted string) (path string, field protoreflect.FieldDescriptor) {
	message := b.input
	var names []string
	for name := range strings.SplitSeq(dotted, ".") {
		if message == nil || field != nil && field.Cardinality() == protoreflect.Repeated {
			return "", nil
		}
		if field = message.Fields().ByTextName(name); field == nil {
			field = message.Fields().ByJSONName(name)
		}
		if field == nil {
			return "", nil
		}
		names = append(names, string(field.Name()))
		message = field.Message()
	}
	if message != nil && !field.IsMap() && message.FullName().Parent() != "google.protobuf" {
		return "", nil // a message as a whole has no form in a query
	}
	return strings.Join(names, "."), field
}

// checkBody refuses what is not one strict JSON object for the route.
func (b *binding) checkBody(header http.Header, raw []byte) error {
	if len(raw) == 0 && (b.body == "" || b.body == "*") {
		return nil // the rules of the message say what is missing
	}
	if b.body == "" {
		return status.Error(codes.InvalidArgument, "this method takes no body")
	}
	if len(raw) == 0 {
		return status.Error(codes.InvalidArgument, "the body is empty")
	}
	if err := checkType(header); err != nil {
		return err
	}
	prefix := ""
	if b.body != "*" {
		prefix = b.body
	}
	if fault, ok := errors.AsType[*fault](checkJSON(raw, b.bodyMessage)); ok {
		if fault.field == "" {
			return status.Error(codes.InvalidArgument, fault.reason)
		}
		return rpc.Invalid(rpc.Violation{Field: join(prefix, fault.field), Reason: fault.reason}).Err()
	}
	return nil
}

// unmask takes back the mask that grpc-gateway makes of the body {}: one empty name, where there is none.
func (b *binding) unmask(m protoreflect.Message) {
	if b.mask == nil {
		return
	}
	mask, ok := m.Get(b.mask).Message().Interface().(*fieldmaskpb.FieldMask)
	if ok && slices.Equal(mask.GetPaths(), []string{""}) {
		m.Clear(b.mask)
	}
}

// checkTaken refuses a body that sets a field of the path to another value: grpc-gateway lets the path win.
func (b *binding) checkTaken(raw []byte, m protoreflect.Message) error {
	if len(b.taken) == 0 || b.bodyMessage == nil || len(raw) == 0 {
		return nil
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(b.bodyMessage.FullName())
	if err != nil {
		return err
	}
	body := t.New()
	if err := decode.Unmarshal(raw, body.Interface()); err != nil {
		return errMisfit // m was made of it, so this cannot be
	}
	for _, path := range b.taken {
		below, inBody := path, b.body == "*"
		if !inBody {
			below, inBody = strings.CutPrefix(path, b.body+".")
		}
		if given := valueAt(body, below); inBody && given.IsValid() && !given.Equal(valueAt(m, path)) {
			return rpc.Invalid(rpc.Violation{Field: path, Reason: "differs from the one in the path"}).Err()
		}
	}
	return nil
}

// valueAt is what a dotted path of proto names leads to; not valid when nothing is set there.
func valueAt(m protoreflect.Message, path string) protoreflect.Value {
	for {
		name, rest, more := strings.Cut(path, ".")
		field := m.Descriptor().Fields().ByName(protoreflect.Name(name))
		if field == nil || !m.Has(field) {
			return protoreflect.Value{}
		}
		if !more {
			return m.Get(field)
		}
		m, path = m.Get(field).Message(), rest
	}
}

func join(prefix, field string) string {
	if prefix == "" {
		return field
	}
	return prefix + "." + field
}

// clip bounds what a caller's text takes in an answer.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "�")
}

func protoString(s string) protoreflect.Value { return protoreflect.ValueOfString(s) }
