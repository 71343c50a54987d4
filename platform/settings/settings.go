// Package settings fills a service's configuration struct from environment
// variables and from flags of the same name (EMPLOYEE_HTTP_ADDR is
// --employee-http-addr), prints a grouped --help, and refuses a missing or
// malformed setting with an error that names it and never shows its value.
package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// ErrHelp means that --help was given and printed: end with status 0.
var ErrHelp = errors.New("help printed")

// Error names each setting that is missing or malformed.
type Error struct{ Problems []string }

// Error gives one problem a line.
func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// Add says what is wrong with a setting, by the name of its variable: what
// Parse cannot know, such as that it does not go with another one.
func (e *Error) Add(env, format string, args ...any) {
	e.Problems = append(e.Problems, env+" (--"+flagName(env)+"): "+fmt.Sprintf(format, args...))
}

// Wrong is an Error with one problem.
func Wrong(env, format string, args ...any) error {
	var e Error
	e.Add(env, format, args...)
	return &e
}

// Err is e, or nil if nothing is wrong.
func (e *Error) Err() error {
	if len(e.Problems) == 0 {
		return nil
	}
	return e
}

// Option changes how Parse works.
type Option func(*parser)

// Lookup replaces os.LookupEnv.
func Lookup(lookup func(name string) (string, bool)) Option {
	return func(p *parser) { p.lookup = lookup }
}

// Output sets where --help is printed; default os.Stdout.
func Output(w io.Writer) Option { return func(p *parser) { p.stdout = w } }

// Program sets the name and the description that --help shows.
func Program(name, description string) Option {
	return func(p *parser) { p.name, p.description = name, description }
}

type parser struct {
	lookup            func(string) (string, bool)
	stdout            io.Writer
	name, description string
	wrong             Error
	settings          map[*kong.Value]*setting
}

// setting is one flag with its environment variable and, for a secret, the
// flag and the variable of its file twin.
type setting struct {
	flag     *kong.Flag
	env      string
	required bool
	file     *string // the twin's value
	fileFlag *kong.Flag
}

// Parse fills cfg, a pointer to a struct, from args (without the program's
// name) and the environment. A field takes part when it has an env tag:
//
//	HTTPAddr settings.Addr   `env:"EMPLOYEE_HTTP_ADDR" default:"127.0.0.1:8001" group:"Addresses" help:"Where REST is served."`
//	Key      settings.Secret `env:"EMPLOYEE_NOTIFIER_KEY" required:"" help:"…"`
//
// The other tags are those of kong: default, required, enum, help, group,
// placeholder, hidden. An embedded struct adds its fields. A flag wins over
// the environment; an empty variable counts as not set. A field of a type
// with a method IsSecret, such as Secret and APIKeys, or with the tag
// secret:"", also has a …_FILE twin that names a file to read the value from.
//
// The error is ErrHelp, or an *Error with every problem found.
func Parse(cfg any, args []string, opts ...Option) error {
	p := &parser{lookup: os.LookupEnv, stdout: os.Stdout, settings: map[*kong.Value]*setting{}}
	for _, opt := range opts {
		opt(p)
	}
	helped := false
	k, err := kong.New(cfg,
		kong.Name(p.name), kong.Description(p.description),
		kong.Writers(p.stdout, io.Discard),
		kong.PostBuild(p.adopt),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, Summary: true, WrapUpperBound: 110}),
		kong.ValueFormatter(p.help),
		kong.Exit(func(int) { helped = true; panic(ErrHelp) }),
	)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	ctx, err := parseArgs(k, args)
	if helped {
		return ErrHelp
	}
	if err != nil {
		return &Error{Problems: []string{err.Error()}}
	}
	given := map[*kong.Value]bool{}
	for _, el := range ctx.Path {
		if el.Flag != nil {
			given[el.Flag.Value] = true
		}
	}
	for _, flag := range k.Model.Flags {
		if s := p.settings[flag.Value]; s != nil && s.flag == flag {
			p.resolve(s, given)
		}
	}
	return p.wrong.Err()
}

// parseArgs turns the panic that ends --help into a return.
func parseArgs(k *kong.Kong, args []string) (ctx *kong.Context, err error) {
	defer func() {
		if v := recover(); v != nil {
			if e, ok := v.(error); !ok || !errors.Is(e, ErrHelp) {
				panic(v)
			}
			err = ErrHelp
		}
	}()
	return k.Parse(args)
}

// adopt takes environment, names and required from kong, whose own handling
// would print a malformed secret, and adds the file twins.
func (p *parser) adopt(k *kong.Kong) error {
	for _, flag := range slices.Clone(k.Model.Flags) {
		if len(flag.Envs) == 0 {
			continue
		}
		s := &setting{flag: flag, env: flag.Envs[0], required: flag.Required}
		flag.Name = flagName(s.env)
		flag.Required, flag.Envs, flag.Tag.Envs = false, nil, nil
		p.settings[flag.Value] = s
		if flag.PlaceHolder == "" {
			flag.PlaceHolder = placeholder(flag.Target)
		}
		if isSecret(flag) {
			p.addTwin(k, s)
		}
	}
	return nil
}

func (p *parser) addTwin(k *kong.Kong, s *setting) {
	s.file = new(string)
	target := reflect.ValueOf(s.file).Elem()
	value := &kong.Value{
		Name:         s.flag.Name + "-file",
		Target:       target,
		Tag:          &kong.Tag{},
		Mapper:       kong.NewRegistry().RegisterDefaults().ForValue(target),
		DefaultValue: reflect.New(target.Type()).Elem(),
	}
	s.fileFlag = &kong.Flag{Value: value, Hidden: true} // the help of the setting itself names it
	value.Flag = s.fileFlag
	k.Model.Flags = append(k.Model.Flags, s.fileFlag)
}

func flagName(env string) string { return strings.ReplaceAll(strings.ToLower(env), "_", "-") }

func isSecret(flag *kong.Flag) bool {
	if flag.Tag.Has("secret") {
		return true
	}
	_, ok := reflect.TypeAssert[interface{ IsSecret() }](reflect.New(flag.Target.Type()))
	return ok
}

func (p *parser) help(v *kong.Value) string {
	s := p.settings[v]
	if s == nil {
		return v.Help
	}
	help := v.Help
	if s.required {
		help += " Required."
	}
	if v.HasDefault && v.Default != "" {
		help += " Default: " + v.Default + "."
	}
	env := "$" + s.env
	if s.file != nil {
		env += " or $" + s.env + "_FILE"
	}
	return strings.TrimSpace(help + " (" + env + ")")
}

// placeholder stands for a value in --help.
func placeholder(target reflect.Value) string {
	if v, ok := reflect.TypeAssert[interface{ placeholder() string }](target); ok {
		return v.placeholder()
	}
	switch {
	case target.Type() == reflect.TypeFor[time.Duration]():
		return "DURATION"
	case target.CanInt() || target.CanUint():
		return "N"
	default:
		return "TEXT"
	}
}

func (p *parser) resolve(s *setting, given map[*kong.Value]bool) {
	value, hasValue := p.env(s.env)
	hasValue = hasValue && !given[s.flag.Value]
	has := hasValue || given[s.flag.Value]
	if s.file != nil {
		path, ok := *s.file, given[s.fileFlag.Value]
		if !ok {
			path, ok = p.env(s.env + "_FILE")
		}
		switch {
		case ok && has:
			p.problem(s, "", "both it and %s_FILE are set", s.env)
			return
		case ok:
			text, err := readSecret(path)
			if err != nil {
				p.problem(s, "_FILE", "%v", err)
				return
			}
			value, hasValue, has = text, true, true
		}
	}
	if hasValue {
		if err := decode(s.flag.Value, value); err != nil {
			p.problem(s, "", "%v", err)
			return
		}
	}
	if s.required && (!has || s.flag.Target.IsZero()) {
		p.problem(s, "", "required, but not set")
	}
}

func (p *parser) env(name string) (string, bool) {
	v, ok := p.lookup(name)
	return v, ok && v != ""
}

func (p *parser) problem(s *setting, suffix, format string, args ...any) {
	p.wrong.Add(s.env+suffix, format, args...)
}
