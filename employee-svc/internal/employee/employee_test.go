package employee_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hirewire.dev/employee-svc/internal/employee"
)

func ada() employee.Employee {
	return employee.Employee{
		Number: "E-1001", GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com",
		JobTitle: "Engineer", Department: "Research", HireDate: "2026-11-20", Country: "GB", Currency: "GBP",
	}
}

func TestCleanRefuses(t *testing.T) {
	type set = func(*employee.Employee, string)
	given := func(e *employee.Employee, s string) { e.GivenName = s }
	title := func(e *employee.Employee, s string) { e.JobTitle = s }
	number := func(e *employee.Employee, s string) { e.Number = s }
	email := func(e *employee.Employee, s string) { e.Email = s }
	date := func(e *employee.Employee, s string) { e.HireDate = s }
	country := func(e *employee.Employee, s string) { e.Country = s }
	currency := func(e *employee.Employee, s string) { e.Currency = s }
	for _, tt := range []struct {
		name, field string
		set         set
		value       string
	}{
		{"absent name", "given_name", given, ""},
		{"name of spaces and a tab", "given_name", given, "   \t"},
		{"name of spaces", "given_name", given, "   "},
		{"name of no-break space", "given_name", given, "\u00a0"},
		{"name of 256 characters", "given_name", given, strings.Repeat("a", 256)},
		{"name of 256 wide characters", "given_name", given, strings.Repeat("李", 256)},
		{"name of 1 MiB", "given_name", given, strings.Repeat("é", 1<<19)},
		{"escape sequence", "given_name", given, "\x1b[31mAda"},
		{"line break", "given_name", given, "Ada\r\nLovelace"},
		{"line break at the end", "given_name", given, "Ada\n"},
		{"NUL", "given_name", given, "A\x00da"},
		{"C1 control", "given_name", given, "A\u0085da"},
		{"line separator", "given_name", given, "A\u2028da"},
		{"right-to-left override", "given_name", given, "A\u202eda"},
		{"zero-width space", "given_name", given, "A\u200bda"},
		{"byte order mark", "given_name", given, "\ufeffAda"},
		{"private use", "given_name", given, "A\ue000da"},
		{"noncharacter", "given_name", given, "A\ufdd0da"},
		{"noncharacter at the end of a plane", "given_name", given, "A\U0001ffffda"},
		{"replacement character", "given_name", given, "A\ufffdda"},
		{"invalid UTF-8", "given_name", given, "A\xc3\x28"},
		{"joiner alone", "given_name", given, "\u200d"},
		{"joiner in front", "given_name", given, "\u200dAda"},
		{"joiner at the end", "given_name", given, "Ada\u200d"},
		{"joiner beside a space", "given_name", given, "Ada\u200d King"},
		{"two joiners", "given_name", given, "می\u200c\u200cخواهم"},
		{"Hangul filler", "given_name", given, "\u3164"},
		{"Hangul choseong filler", "given_name", given, "\u115f"},
		{"Hangul jungseong filler", "given_name", given, "\u1160"},
		{"half-width Hangul filler", "given_name", given, "\uffa0"},
		{"filler in a name", "given_name", given, "A\u3164da"},
		{"blank Braille", "given_name", given, "\u2800"},
		{"object replacement", "given_name", given, "\ufffc"},
		{"grapheme joiner", "given_name", given, "\u034f"},
		{"variation selector alone", "given_name", given, "\ufe0f"},
		{"ideographic variation selector alone", "given_name", given, "\U000e0100"},
		{"two variation selectors", "given_name", given, "葛\U000e0100\U000e0100"},
		{"Mongolian variation selector alone", "given_name", given, "\u180b"},
		{"inherent vowel", "given_name", given, "\u17b4"},
		{"Khitan filler", "given_name", given, "\U00016fe4"},
		{"note without a head", "given_name", given, "\U0001d159"},
		{"tag", "given_name", given, "A\U000e0041da"},
		{"mark alone", "given_name", given, "\u0301"},
		{"mark after a space", "given_name", given, " \u0301"},
		{"mark alone in an optional text", "job_title", title, "\u0301"},
		{"unassigned", "given_name", given, "A\u0378da"},
		{"noncharacter among ideographs", "given_name", given, "李\U0002ffff"},
		{"control character in an optional text", "job_title", title, "a\tb"},
		{"long optional text", "job_title", title, strings.Repeat("a", 256)},
		{"absent number", "employee_number", number, ""},
		{"long number", "employee_number", number, strings.Repeat("1", 65)},
		{"number with a space at the end", "employee_number", number, "E-1 "},
		{"number with a no-break space in front", "employee_number", number, "\u00a0E-1"},
		{"number with a tab", "employee_number", number, "E\t1"},
		{"number of joiners", "employee_number", number, "\u200d\u200d"},
		{"number with a joiner", "employee_number", number, "می\u200cخواهم"},
		{"number with a variation selector", "employee_number", number, "1\ufe0f"},
		{"number of a mark", "employee_number", number, "\u0301"},
		{"absent email", "email", email, ""},
		{"email of a joiner", "email", email, "\u200d@x.io"},
		{"email with a joiner", "email", email, "b\u200d1@x.io"},
		{"email with a joiner in the domain", "email", email, "b@نامه\u200cای.com"},
		{"email of a filler", "email", email, "\u3164@x.io"},
		{"email of a mark", "email", email, "\u0301@x.io"},
		{"domain that is no IDN", "email", email, "b@\u0301x.io"},
		{"domain that decodes to nothing", "email", email, "b@xn--a.io"},
		{"email without @", "email", email, "ada.example.com"},
		{"email with two @", "email", email, "ada@@example.com"},
		{"email with an @ in the domain", "email", email, "ada@exa@mple.com"},
		{"email of 321 characters", "email", email, strings.Repeat("a", 64) + "@" + strings.Repeat("b.", 126) + "comm"},
		{"email with a long local part", "email", email, strings.Repeat("a", 65) + "@example.com"},
		{"email with a long domain", "email", email, "a@" + strings.Repeat("b.", 127) + "com"},
		{"email with a long label", "email", email, "a@" + strings.Repeat("b", 64) + ".com"},
		{"email with a domain literal", "email", email, "a@[127.0.0.1]"},
		{"email with an IP address", "email", email, "a@127.0.0.1"},
		{"email with a display name", "email", email, "Bob <b@x.io>"},
		{"email in brackets", "email", email, "<b@x.io>"},
		{"email with a space at the end", "email", email, "b@x.io "},
		{"email with a space in front", "email", email, " b@x.io"},
		{"email with a space", "email", email, "b b@x.io"},
		{"email with a no-break space", "email", email, "b\u00a0b@x.io"},
		{"quoted local part", "email", email, `"b b"@x.io`},
		{"email with a comment", "email", email, "b(c)@x.io"},
		{"local part with a dot in front", "email", email, ".b@x.io"},
		{"local part with two dots", "email", email, "b..c@x.io"},
		{"local part with a dot at the end", "email", email, "b.@x.io"},
		{"domain with a dot at the end", "email", email, "b@x.io."},
		{"domain with a hyphen in front", "email", email, "b@-x.io"},
		{"domain with a hyphen at the end", "email", email, "b@x-.io"},
		{"domain with an underscore", "email", email, "b@x_y.io"},
		{"no local part", "email", email, "@x.io"},
		{"no domain", "email", email, "b@"},
		{"email with CR LF", "email", email, "b@x.io\r\nBcc: c@x.io"},
		{"no such day", "hire_date", date, "2024-02-30"},
		{"no leap year", "hire_date", date, "2025-02-29"},
		{"year 10000", "hire_date", date, "10000-01-01"},
		{"word for a date", "hire_date", date, "tomorrow"},
		{"date with a time", "hire_date", date, "2026-11-20T00:00:00Z"},
		{"date with a time zone", "hire_date", date, "2026-11-20+01:00"},
		{"short date", "hire_date", date, "2026-1-2"},
		{"year 1899", "hire_date", date, "1899-12-31"},
		{"year 2101", "hire_date", date, "2101-01-01"},
		{"year 0", "hire_date", date, "0000-01-01"},
		{"absent date", "hire_date", date, ""},
		{"digits that are not ASCII", "hire_date", date, "٢٠٢٦-١١-٢٠"},
		{"unassigned country", "country", country, "ZZ"},
		{"three-letter country", "country", country, "USA"},
		{"lower-case country", "country", country, "de"},
		{"absent country", "country", country, ""},
		{"user-assigned country", "country", country, "XK"},
		{"lower-case currency", "currency", currency, "usd"},
		{"no currency", "currency", currency, "XXX"},
		{"currency for tests", "currency", currency, "XTS"},
		{"gold", "currency", currency, "XAU"},
		{"withdrawn currency", "currency", currency, "DEM"},
		{"absent currency", "currency", currency, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := ada()
			tt.set(&e, tt.value)
			_, err := e.Clean()
			invalid, ok := errors.AsType[*employee.InvalidError](err)
			if !ok {
				t.Fatalf("Clean: %v, want an InvalidError", err)
			}
			if invalid.Field != tt.field || invalid.Reason == "" {
				t.Errorf("refused %s %q, want a reason for %s", invalid.Field, invalid.Reason, tt.field)
			}
			if len(tt.value) > 8 && strings.Contains(err.Error(), tt.value) {
				t.Error("the error repeats the value")
			}
		})
	}
}

func TestCleanTakesVerbatim(t *testing.T) {
	for _, name := range []string{
		"'; DROP TABLE employees;--", "<script>alert(1)</script>", "%s%n%x", "=HYPERLINK(\"http://x\")", "O’Brien", "Zoë", "李小龙",
		"Владимир", "محمد", "می\u200cخواهم", "Nguyễn", "🦉", strings.Repeat("李", 255), "Jean Luc", "{{.Env}}", "${jndi:ldap://x}",
		"ශ\u0dca\u200dරී", "മോഹന\u0d4d\u200d", "क\u094d\u200dष", "葛\U000e0100城", "ᠠ\u180b", "❤\ufe0f", ".", "\U0002ebf0", "Spin\u0308al",
	} {
		e := ada()
		e.GivenName = name
		clean, err := e.Clean()
		if err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if clean.GivenName != name {
			t.Errorf("stored %q, want %q", clean.GivenName, name)
		}
	}
}

func TestCleanTakesEmails(t *testing.T) {
	for _, email := range []string{
		"a@b", "a@example.com", "first.last+tag@sub.example.co.uk", "o'hara@example.com", "用户@例子.公司", "a@xn--bcher-kva.example",
		"!#$%&'*+-/=?^_`{|}~@example.com", strings.Repeat("a", 64) + "@example.com", "a@1.example", "a@" + strings.Repeat("b.", 126) + "com",
	} {
		e := ada()
		e.Email = email
		if _, err := e.Clean(); err != nil {
			t.Errorf("%s: %v", email, err)
		}
	}
}

func TestCleanNormalises(t *testing.T) {
	e := ada()
	e.GivenName, e.FamilyName, e.JobTitle, e.Email = "  Zoe\u0308\u00a0", "\u3000Li ", " ", "zoe\u0308@example.com"
	got, err := e.Clean()
	if err != nil {
		t.Fatal(err)
	}
	want := ada()
	want.GivenName, want.FamilyName, want.JobTitle, want.Email = "Zo\u00eb", "Li", "", "zo\u00eb@example.com"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCleanNamesEveryFieldAtFault(t *testing.T) {
	_, err := employee.Employee{}.Clean()
	all, ok := errors.AsType[employee.InvalidErrors](err)
	if !ok || len(all) != 7 {
		t.Fatalf("got %v, want the 7 required fields", err)
	}
}

func TestEmailKey(t *testing.T) {
	for _, same := range [][2]string{
		{"Ada@Example.COM", "ada@example.com"},
		{"zoe\u0308@example.com", "ZO\u00cb@example.com"},
		{"STRASSE@example.com", "stra\u00dfe@example.com"},
		{"\u03a3\u03b1\u03c2@example.com", "\u03c3\u03b1\u03c3@example.com"},
		{"\uff22\uff11@\uff38.io", "b1@x.io"},
		{"b@m\u00fcnchen.de", "B@XN--mnchen-3ya.de"},
		{"b@M\u00dcNCHEN.de", "b@xn--mnchen-3ya.de"},
	} {
		if a, b := employee.EmailKey(same[0]), employee.EmailKey(same[1]); a != b {
			t.Errorf("%q and %q differ: %q, %q", same[0], same[1], a, b)
		}
	}
	if employee.EmailKey("a@example.com") == employee.EmailKey("b@example.com") {
		t.Error("different emails are the same")
	}
}

func TestPatch(t *testing.T) {
	before := ada().Hired("emp_1", time.Date(2026, 11, 20, 9, 0, 0, 123456789, time.UTC))
	from := employee.Employee{GivenName: " Augusta ", JobTitle: "", Email: "augusta@example.com", Version: 99, ID: "other", Status: employee.Terminated}
	for _, tt := range []struct {
		name  string
		mask  []string
		want  func(*employee.Employee)
		field string // at fault
	}{
		{name: "one field", mask: []string{"given_name"}, want: func(e *employee.Employee) { e.GivenName = "Augusta" }},
		{name: "empties an optional field", mask: []string{"job_title"}, want: func(e *employee.Employee) { e.JobTitle = "" }},
		{name: "empties a required field", mask: []string{"family_name"}, field: "family_name"},
		{name: "own fields stay", mask: []string{"id", "status", "version", "created_at", "updated_at"}, want: func(*employee.Employee) {}},
		{name: "unknown path", mask: []string{"given_name", "salary"}, field: "update_mask"},
		{name: "nested path", mask: []string{"employee.given_name"}, field: "update_mask"},
		{name: "empty path", mask: []string{""}, field: "update_mask"},
		{name: "everything", mask: []string{"*"}, field: "employee_number"},
		{name: "nothing", want: func(*employee.Employee) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			patch, err := employee.NewPatch(from, tt.mask)
			if tt.field != "" {
				if invalid, ok := errors.AsType[*employee.InvalidError](err); !ok || invalid.Field != tt.field {
					t.Fatalf("got %v, want %s at fault", err, tt.field)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := before
			tt.want(&want)
			if diff := cmp.Diff(want, patch.Apply(before)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if diff := cmp.Diff([]string{"given_name", "email"}, from.SetFields()); diff != "" {
		t.Error(diff)
	}
}

func TestChange(t *testing.T) {
	hired := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	at := hired.Add(time.Hour + 999)
	before := ada().Hired("emp_1", hired)
	renamed := before
	renamed.GivenName = "Augusta"
	for _, tt := range []struct {
		name string
		next employee.Employee
		want employee.EventType
		ok   bool
	}{
		{"nothing", before, "", false},
		{"renamed", renamed, employee.Updated, true},
		{"terminated", before.Terminate(), employee.Ended, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			after, event, ok := employee.Change(before, tt.next, at)
			if event != tt.want || ok != tt.ok {
				t.Fatalf("got %q, %v, want %q, %v", event, ok, tt.want, tt.ok)
			}
			want := tt.next
			if ok {
				want.Version, want.UpdatedAt = 2, hired.Add(time.Hour)
			}
			if diff := cmp.Diff(want, after); diff != "" {
				t.Error(diff)
			}
		})
	}
	ended, _, _ := employee.Change(before, before.Terminate(), at)
	if _, _, ok := employee.Change(ended, ended.Terminate(), at); ok {
		t.Error("terminating twice is a change")
	}
}

func TestSumTellsFieldsApart(t *testing.T) {
	a, b := ada(), ada()
	a.JobTitle, a.Department = "ab", "c"
	b.JobTitle, b.Department = "a", "bc"
	if a.Sum() == b.Sum() {
		t.Error("different employees have one sum")
	}
	if a.Sum() != a.Hired("emp_1", time.Now()).Sum() {
		t.Error("the service's own fields are in the sum")
	}
}

func TestPrintingLeaksNothing(t *testing.T) {
	e := ada().Hired("emp_1", time.Now())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		for _, v := range []any{e, &e, []employee.Employee{e}, struct{ E employee.Employee }{e}} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, "Lovelace") || strings.Contains(s, "ada@") {
				t.Errorf("%s of %T: %s", verb, v, s)
			}
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"Ada", "Zoe\u0308", " a ", "a@b.c", "\xc3\x28", "2026-11-20", "DE", "EUR", "\u1e9b\u0323", "a\u0300\u0301\u0302"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, e := range []employee.Employee{
			{Number: s, GivenName: "a", FamilyName: "a", Email: "a@b", HireDate: "2026-11-20", Country: "DE", Currency: "EUR"},
			{Number: "1", GivenName: s, FamilyName: s, Email: "a@b", HireDate: "2026-11-20", Country: "DE", Currency: "EUR"},
			{Number: "1", GivenName: "a", FamilyName: "a", Email: s, HireDate: "2026-11-20", Country: "DE", Currency: "EUR"},
			{Number: "1", GivenName: "a", FamilyName: "a", Email: "a@b", HireDate: s, Country: s, Currency: s},
		} {
			once, err := e.Clean()
			if err != nil {
				if _, ok := errors.AsType[employee.InvalidErrors](err); !ok {
					t.Fatalf("an error of another kind: %v", err)
				}
				continue
			}
			twice, err := once.Clean()
			if err != nil || once != twice {
				t.Fatalf("cleaning what is clean changes it: %v, %q", err, s)
			}
			if key := employee.EmailKey(once.Email); employee.EmailKey(key) != key {
				t.Fatalf("the key of a key is another: %q", key)
			}
		}
	})
}

func BenchmarkClean(b *testing.B) {
	latin, han := ada(), ada()
	han.GivenName, han.FamilyName = "小龙", "李"
	for name, e := range map[string]employee.Employee{"ascii": latin, "unicode": han} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Clean(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
