package filter

import (
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"hirewire.dev/notifier/internal/subscription"
)

const eventTypeName = "hirewire.Event"

var eventType = cel.ObjectType(eventTypeName)

// eventTypes teaches CEL what an event is, on top of the standard types. Fields are read straight from the candidate, and
// its data are made only for a filter that asks for them.
type eventTypes struct {
	types.Provider
	fields map[string]*types.FieldType
}

func newEventTypes() *eventTypes {
	registry, err := types.NewRegistry()
	if err != nil {
		panic(err) // no arguments, no reason
	}
	field := func(t *types.Type, get func(*subscription.Candidate) any) *types.FieldType {
		return &types.FieldType{
			Type:  t,
			IsSet: func(any) bool { return true },
			GetFrom: func(target any) (any, error) {
				c, ok := target.(*subscription.Candidate)
				if !ok {
					return nil, fmt.Errorf("%T is no event", target)
				}
				return get(c), nil
			},
		}
	}
	return &eventTypes{Provider: registry, fields: map[string]*types.FieldType{
		"id":          field(types.StringType, func(c *subscription.Candidate) any { return c.ID }),
		"type":        field(types.StringType, func(c *subscription.Candidate) any { return c.Type }),
		"timestamp":   field(types.TimestampType, func(c *subscription.Candidate) any { return c.OccurredAt }),
		"employee_id": field(types.StringType, func(c *subscription.Candidate) any { return c.EmployeeID }),
		"version":     field(types.IntType, func(c *subscription.Candidate) any { return c.Version }),
		"data":        field(types.NewMapType(types.StringType, types.DynType), func(c *subscription.Candidate) any { return c.Data() }),
	}}
}

func (e *eventTypes) FindStructType(name string) (*types.Type, bool) {
	if name == eventTypeName {
		return types.NewTypeTypeWithParam(eventType), true
	}
	return e.Provider.FindStructType(name)
}

func (e *eventTypes) FindStructFieldNames(name string) ([]string, bool) {
	if name == eventTypeName {
		return []string{"id", "type", "timestamp", "employee_id", "version", "data"}, true
	}
	return e.Provider.FindStructFieldNames(name)
}

func (e *eventTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if name == eventTypeName {
		f, ok := e.fields[field]
		return f, ok
	}
	return e.Provider.FindStructFieldType(name, field)
}
