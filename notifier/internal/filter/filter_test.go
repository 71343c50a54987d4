package filter_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"hirewire.dev/notifier/internal/filter"
	"hirewire.dev/notifier/internal/subscription"
)

func candidate() *subscription.Candidate {
	return &subscription.Candidate{
		ID: "evt_1", Type: "employee.created", EmployeeID: "emp_1", Version: 2,
		OccurredAt: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC),
		Data: func() map[string]any {
			return map[string]any{"employee": map[string]any{
				"id": "emp_1", "version": 2.0, "country": "DE", "email": "zoe@example.test", "tags": []any{"a", "b"}, "manager": nil, "active": true,
			}}
		},
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]bool{
		`event.data.employee.country == "DE"`:                              true,
		`event.data.employee.country == "FR"`:                              false,
		`event.data.employee.country in ["DE", "AT"]`:                      true,
		`event.data["employee"]["country"] != "FR"`:                        true,
		`event.type == "employee.created" && event.version >= 2`:           true,
		`event.type.startsWith("employee.")`:                               true,
		`event.data.employee.version == 2`:                                 true,
		`event.data.employee.version > 1`:                                  true,
		`event.timestamp < timestamp("2027-01-01T00:00:00Z")`:              true,
		`event.timestamp.getFullYear() == 2026`:                            true,
		`event.employee_id == event.data.employee.id`:                      true,
		`event.id.matches("^evt_[0-9]+$")`:                                 true,
		`event.data.employee.country.matches("^[A-Z]{2}$")`:                true,
		`matches(event.data.employee.country, "^[A-Z]{3}$")`:               false,
		`["x", "D+E"].exists(c, c.matches(r"^D\+E$"))`:                     true,
		`has(event.data.employee.iban)`:                                    false,
		`has(event.data.employee.country)`:                                 true,
		`!has(event.data.employee.iban) || event.data.employee.iban == ""`: true,
		`event.data.employee.tags.exists(t, t == "b")`:                     true,
		`"a" in event.data.employee.tags`:                                  true,
		`event.data.employee.manager == null`:                              true,
		`event.data.employee.active == true`:                               true,
		`bool(event.data.employee.active)`:                                 true,
		`size(event.data.employee.email) > 3`:                              true,
		`true`:                                                             true,
		`has(event.data)`:                                                  true,
	} {
		f, err := filter.Compile(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got, err := f.Match(candidate()); got != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", expression, got, err, want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for name, expression := range map[string]string{
		"empty":                 "",
		"blank":                 " \t",
		"syntax":                `event.data.employee.country ==`,
		"unknown variable":      `employee.country == "DE"`,
		"unknown member":        `event.typ == "employee.created"`,
		"unknown function":      `exec("rm")`,
		"not a bool":            `event.data.employee.country`,
		"a number":              `1 + 1`,
		"wrong types":           `event.version == "2"`,
		"bad regular expr":      `event.id.matches("(")`,
		"pattern made":          `event.id.matches("evt_" + event.employee_id)`,
		"pattern of an event":   `matches(event.id, event.employee_id)`,
		"pattern per entry":     `["a{1000}a{1000}"].exists(p, event.id.matches(p))`,
		"pattern of any type":   `event.id.matches(dyn("a"))`,
		"pattern too long":      `event.id.matches("` + strings.Repeat("a", 513) + `")`,
		"pattern too large":     `event.id.matches("a{501}")`,
		"pattern far too large": `event.id.matches("` + strings.Repeat("a{1000}", 70) + `")`,
		"bad timestamp":         `event.timestamp < timestamp("tomorrow")`,
		"too long":              `event.id == "` + strings.Repeat("a", filter.MaxSize) + `"`,
		"too many parts":        strings.TrimSuffix(strings.Repeat("true&&", 300), "&&"),
		"too deep":              strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200),
		"nested comprehension":  `[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))`,
		"an event made":         `hirewire.Event{id: "x"} == event`,
		"NUL":                   "event.id == \x00",
	} {
		_, err := filter.Compile(expression)
		if _, ok := errors.AsType[*filter.InvalidError](err); !ok {
			t.Errorf("%s: got %v, want an InvalidError", name, err)
		}
	}
}

// A doubt never sends an event to somebody else, and never passes silently.
func TestWhatCannotBeEvaluatedDoesNotMatch(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{
		`event.data.employee.iban == "DE02"`,
		`event.data.nobody.country == "DE"`,
		`event.data.employee.country.size() / 0 > 1`,
		`event.data.employee.country > 5`,
		`event.data.employee.country ? true : false`,
		`"` + strings.Repeat("a", 2000) + `".matches("(a*)*b{50}$")`,
		`[1, 2, 3, 4, 5].all(h, event.timestamp.getHours("Europe/Berlin") >= 0)`,
		// Far beyond the cost limit: 50³ steps.
		`[` + strings.Repeat("1,", 49) + `1].all(a, [` + strings.Repeat("1,", 49) + `1].all(b, a == b && event.data.employee.country.matches("^(D|E)+$")))`,
	} {
		f, err := filter.Compile(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		got, err := f.Match(candidate())
		if got || err == nil {
			t.Errorf("%s: %v, %v; want false and an error", expression, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "zoe@") {
			t.Errorf("%s: the error repeats the event: %v", expression, err)
		}
	}
}

func TestDataIsMadeOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	f, err := filter.Compile(`event.type == "employee.created" && event.version > 0`)
	if err != nil {
		t.Fatal(err)
	}
	c := candidate()
	c.Data = func() map[string]any { t.Error("the data were made"); return nil }
	if ok, err := f.Match(c); !ok || err != nil {
		t.Error(ok, err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, seed := range []string{`event.data.employee.country == "DE"`, `event.id.matches("a*b{2,3}")`, `[1,2].all(x, x > event.version)`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		compiled, err := filter.Compile(expression)
		if err != nil {
			if _, ok := errors.AsType[*filter.InvalidError](err); !ok {
				t.Fatalf("%q: %v", expression, err)
			}
			return
		}
		_, _ = compiled.Match(candidate())
	})
}

func BenchmarkMatch(b *testing.B) {
	for name, expression := range map[string]string{
		"type":    `event.type == "employee.created"`,
		"country": `event.data.employee.country == "DE"`,
		"list":    `event.data.employee.country in ["AT", "CH", "DE"] && event.version > 0`,
	} {
		b.Run(name, func(b *testing.B) {
			f, err := filter.Compile(expression)
			if err != nil {
				b.Fatal(err)
			}
			c := candidate()
			data := c.Data()
			c.Data = func() map[string]any { return data }
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := f.Match(c); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
