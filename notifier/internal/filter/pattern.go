package filter

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Limits of the pattern of matches().
const (
	maxPattern = 512 // bytes
	maxSteps   = 500 // of its program
)

// patterns are those of an expression, by their text. They stand in it as they are, so each is compiled once, and its cost is
// known before it runs.
type patterns map[string]pattern

type pattern struct {
	*regexp.Regexp
	steps int
}

// add takes the pattern of a call of matches().
func (p patterns) add(call ast.CallExpr) error {
	arg := call.Args()[len(call.Args())-1]
	if arg.Kind() != ast.LiteralKind {
		return errors.New("the pattern of matches() must be a literal")
	}
	text, ok := arg.AsLiteral().Value().(string)
	if !ok || len(text) > maxPattern {
		return fmt.Errorf("the pattern of matches() must have at most %d bytes", maxPattern)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return err
	}
	if len(program.Inst) > maxSteps {
		return fmt.Errorf("a pattern of matches() has %d steps; %d are allowed", len(program.Inst), maxSteps)
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return err
	}
	p[text] = pattern{compiled, len(program.Inst)}
	return nil
}

// cost is the price of looking at a text: at worst each step looks at each byte.
func (p pattern) cost(text string) uint64 { return 1 + uint64((len(text)+1)*p.steps/16) }

// match is the implementation of matches(). What would cost too much is not begun, since the cost of a call is counted when it
// is over.
func (p pattern) match(args ...ref.Val) ref.Val {
	text, ok := args[0].Value().(string)
	if !ok {
		return types.NoSuchOverloadErr()
	}
	if p.cost(text) > MaxCost {
		return types.NewErr("the text is too long for the pattern of matches()")
	}
	return types.Bool(p.MatchString(text))
}

// option puts the compiled patterns into a program.
func (p patterns) option() cel.ProgramOption {
	factory := func(call interpreter.InterpretableCall, text string) (interpreter.InterpretableCall, error) {
		return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), p[text].match), nil
	}
	// By their overloads: by the function's name alone, CEL's own would take precedence.
	return cel.OptimizeRegex(
		&interpreter.RegexOptimization{Function: overloads.Matches, OverloadID: overloads.Matches, RegexIndex: 1, Factory: factory},
		&interpreter.RegexOptimization{Function: overloads.Matches, OverloadID: overloads.MatchesString, RegexIndex: 1, Factory: factory},
	)
}

// zoneCost is the price of a time zone, which is read from a file.
const zoneCost = 300

// CallCost tells the price of calls that CEL's own table makes too cheap.
func (p patterns) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	var cost uint64
	switch {
	case function == overloads.Matches:
		text, _ := args[0].Value().(string)
		expression, _ := args[1].Value().(string)
		cost = p[expression].cost(text)
	case strings.HasPrefix(function, "get") && len(args) == 2:
		cost = zoneCost
	default:
		return nil
	}
	return &cost
}
