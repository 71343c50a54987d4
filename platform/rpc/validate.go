package rpc

import (
	"errors"
	"fmt"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// validator checks the text of messages, and them against the rules in their .proto. The zero value checks nothing.
type validator struct {
	rules protovalidate.Validator
	// free are the requests that have no rule.
	free map[protoreflect.FullName]bool
}

// newValidator compiles the rules of every request of the services, so that no call pays for it and a broken rule stops the
// start.
func newValidator(services []string) (validator, error) {
	var inputs []protoreflect.MessageDescriptor
	for _, name := range services {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			return validator{}, fmt.Errorf("find the descriptor of %s: %w", name, err)
		}
		service, ok := d.(protoreflect.ServiceDescriptor)
		if !ok {
			return validator{}, fmt.Errorf("%s is not a service", name)
		}
		for i := range service.Methods().Len() {
			inputs = append(inputs, service.Methods().Get(i).Input())
		}
	}
	rules, err := protovalidate.New(protovalidate.WithMessageDescriptors(inputs...), protovalidate.WithDisableLazy())
	if err != nil {
		return validator{}, fmt.Errorf("compile validation rules: %w", err)
	}
	v := validator{rules: rules, free: map[protoreflect.FullName]bool{}}
	for _, in := range inputs {
		if err := compiles(rules, in); err != nil {
			return validator{}, err
		}
		if !hasRules(in, map[protoreflect.FullName]bool{}) {
			v.free[in.FullName()] = true
		}
	}
	return v, nil
}

// compiles validates an empty message: broken rules show as a compilation error, and only then.
func compiles(rules protovalidate.Validator, d protoreflect.MessageDescriptor) error {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return fmt.Errorf("find the type of %s: %w", d.FullName(), err)
	}
	if broken, ok := errors.AsType[*protovalidate.CompilationError](rules.Validate(t.New().Interface())); ok {
		return fmt.Errorf("validation rules of %s: %w", d.FullName(), broken)
	}
	return nil
}

// validate returns an INVALID_ARGUMENT status with a violation for each field that breaks a rule, or else for one that
// holds U+0000.
func (v validator) validate(req any) error {
	m, ok := req.(proto.Message)
	if !ok || v.rules == nil {
		return nil
	}
	if err := v.checkRules(m); err != nil {
		return err
	}
	return checkText(m.ProtoReflect())
}

func (v validator) checkRules(m proto.Message) error {
	if v.free[m.ProtoReflect().Descriptor().FullName()] {
		return nil
	}
	err := v.rules.Validate(m)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok {
		return fmt.Errorf("validate: %w", err)
	}
	violations := make([]Violation, 0, len(invalid.Violations))
	for _, broken := range invalid.Violations {
		if len(violations) == maxViolations {
			break
		}
		reason := broken.Proto.GetMessage()
		if reason == "" {
			reason = broken.Proto.GetRuleId()
		}
		violations = append(violations, Violation{Field: protovalidate.FieldPathString(broken.Proto.GetField()), Reason: reason})
	}
	return Invalid(violations...).Err()
}
