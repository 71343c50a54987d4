// Package filter decides which events a subscription wants, by an expression in CEL over the variable event:
//
//	event.data.employee.country == "DE" && event.type != "employee.terminated"
//
// The members of event are id, type, timestamp, employee_id, version and data, as in the webhook's body; a misspelt one is
// refused when the filter is compiled. What is below data is known only when an event comes.
//
// A filter that cannot be evaluated for an event (it asks for a member that this event has not, or costs too much) does not
// match. A filter is how a bank is kept to its own people, so a doubt must not send it somebody else's; has() asks whether a
// member is there. Match returns the error too, to be counted, so that nothing is left out silently.
package filter

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"

	"hirewire.dev/notifier/internal/subscription"
)

// Limits of a filter.
const (
	// MaxSize is how long an expression may be, in bytes.
	MaxSize = 4096
	// MaxCost bounds each evaluation, in CEL's units of cost: about one for each operation, some 0.1 µs. A comparison costs
	// about 5, one with each entry of a list of ten 60.
	MaxCost = 1000
	// maxNodes bounds the parts of an expression after its macros are expanded.
	maxNodes = 500
)

// An InvalidError says why an expression is no filter. It is for the author of the expression.
type InvalidError struct{ Reason string }

// Error gives the reason.
func (e *InvalidError) Error() string { return "filter: " + e.Reason }

// Filter is a compiled expression. It is safe for concurrent use.
type Filter struct{ program cel.Program }

// environment is made once: compiling needs nothing else.
var environment = func() *cel.Env {
	env, err := cel.NewEnv(
		cel.CustomTypeProvider(newEventTypes()),
		cel.Variable("event", eventType),
		cel.ParserExpressionSizeLimit(MaxSize),
		cel.ParserRecursionLimit(50),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ASTValidators(
			cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals(), cel.ValidateComprehensionNestingLimit(2),
		),
	)
	if err != nil {
		panic(err) // a constant went wrong; every test sees it
	}
	return env
}()

// Compile reads an expression. The error is an *InvalidError.
func Compile(expression string) (f *Filter, err error) {
	defer func() {
		if recover() != nil { // CEL's mistake; the author can only write it in another way
			f, err = nil, &InvalidError{"it cannot be compiled"}
		}
	}()
	if len(expression) > MaxSize {
		return nil, &InvalidError{fmt.Sprintf("it has more than %d bytes", MaxSize)}
	}
	if strings.TrimSpace(expression) == "" {
		return nil, &InvalidError{"it is empty"}
	}
	checked, issues := environment.Compile(expression)
	if err := issues.Err(); err != nil {
		return nil, &InvalidError{printable(err.Error())}
	}
	if checked.OutputType() != cel.BoolType {
		return nil, &InvalidError{fmt.Sprintf("it must be true or false, and is %s", checked.OutputType())}
	}
	patterns := patterns{}
	if err := checkParts(checked, patterns); err != nil {
		return nil, err
	}
	program, err := environment.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(MaxCost),
		cel.CostTracking(patterns), patterns.option())
	if err != nil {
		return nil, &InvalidError{printable(err.Error())}
	}
	return &Filter{program: program}, nil
}

// Match says whether the event passes. With an error it does not: see the package's comment. The error repeats nothing of
// the event but the names of its members.
func (f *Filter) Match(c *subscription.Candidate) (bool, error) {
	if c.Budget != nil && *c.Budget <= 0 {
		return false, errors.New("evaluate filter: the filters of this owner cost too much together")
	}
	v, details, err := f.program.Eval(activation{c})
	if c.Budget != nil {
		*c.Budget -= int(*details.ActualCost())
	}
	if err != nil {
		return false, fmt.Errorf("evaluate filter: %w", err)
	}
	match, ok := v.Value().(bool)
	if !ok {
		return false, errors.New("evaluate filter: the value is neither true nor false")
	}
	return match, nil
}

// activation is the one variable.
type activation struct{ candidate *subscription.Candidate }

func (a activation) ResolveName(name string) (any, bool) {
	if name != "event" {
		return nil, false
	}
	return a.candidate, true
}

func (a activation) Parent() cel.Activation { return nil }

func checkParts(checked *cel.Ast, patterns patterns) error {
	parts, makes := 0, false
	var bad error
	ast.PostOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		parts++
		makes = makes || e.Kind() == ast.StructKind
		if bad == nil && e.Kind() == ast.CallKind && e.AsCall().FunctionName() == overloads.Matches {
			bad = patterns.add(e.AsCall())
		}
	}))
	switch {
	case parts > maxNodes:
		return &InvalidError{fmt.Sprintf("it has %d parts; %d are allowed", parts, maxNodes)}
	case makes:
		return &InvalidError{"it makes a message; a filter only reads the event"}
	case bad != nil:
		return &InvalidError{printable(bad.Error())}
	}
	return nil
}

// printable keeps an error of the compiler, which quotes the expression, to visible characters and lines.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	if len(s) > 1000 {
		s = strings.ToValidUTF8(s[:1000], "") + "…"
	}
	return s
}
