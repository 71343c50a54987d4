package people_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"hirewire.dev/hirewire/internal/people"
	employeev1 "hirewire.dev/proto/employee/v1"
)

const header = "employee_number,given_name,family_name,email,job_title,department,hire_date,country,currency\n"

func TestReadCSV(t *testing.T) {
	ada := &employeev1.Employee{
		EmployeeNumber: "E1", GivenName: "Ada", FamilyName: "King, Countess", Email: "ada@example.com", JobTitle: "Engineer",
		Department: "Research", HireDate: "2026-01-05", Country: "GB", Currency: "GBP",
	}
	line := "E1,Ada,\"King, Countess\",ada@example.com,Engineer,Research,2026-01-05,GB,GBP\n"
	const quote = "a quote is not closed, or stands where it may not"
	type row struct {
		Line     int
		Employee *employeev1.Employee
		Err      string
	}
	for name, test := range map[string]struct {
		in   string
		want []row
	}{
		"one row":           {header + line, []row{{2, ada, ""}}},
		"byte order mark":   {"\ufeff" + header + line, []row{{2, ada, ""}}},
		"windows line ends": {strings.ReplaceAll(header+line, "\n", "\r\n"), []row{{2, ada, ""}}},
		"semicolons": {
			strings.ReplaceAll(header, ",", ";") + "E1;Ada;King, Countess;ada@example.com;Engineer;Research;2026-01-05;GB;GBP\n",
			[]row{{2, ada, ""}},
		},
		"other order, optional columns left out": {
			"Email, given_name ,family_name,employee_number,hire_date,country,currency\na@example.com,A,B,E2,2026-01-05,DE,EUR\n",
			[]row{{2, &employeev1.Employee{
				EmployeeNumber: "E2", GivenName: "A", FamilyName: "B", Email: "a@example.com", HireDate: "2026-01-05", Country: "DE", Currency: "EUR",
			}, ""}},
		},
		"old line ends":                {strings.ReplaceAll(header+line, "\n", "\r"), []row{{2, ada, ""}}},
		"no last line end":             {header + strings.TrimSuffix(line, "\n"), []row{{2, ada, ""}}},
		"empty lines":                  {"\n" + header + "\r\n\n" + line, []row{{5, ada, ""}}},
		"too few fields":               {header + "E0,too,short\n" + line, []row{{2, nil, "3 fields where the header has 9"}, {3, ada, ""}}},
		"too many fields":              {header + line[:len(line)-1] + ",x\n" + line, []row{{2, nil, "10 fields where the header has 9"}, {3, ada, ""}}},
		"a quote in a quoted field":    {header + line + "E9,\"un\"quoted,x,x,x,x,x,x,x\n" + line, []row{{2, ada, ""}, {3, nil, quote}, {4, ada, ""}}},
		"a quote in a field":           {header + line + "E9,un\"quoted,x,x,x,x,x,x,x\n" + line, []row{{2, ada, ""}, {3, nil, quote}, {4, ada, ""}}},
		"a quote that is not closed":   {header + line + "E9,\"Bob,x,x,x,x,x,x,x\n" + line + line, []row{{2, ada, ""}, {3, nil, quote}, {4, ada, ""}, {5, ada, ""}}},
		"a quote that is never closed": {header + line + "E9,\"Bob,x,x,x,x,x,x,x\n", []row{{2, ada, ""}, {3, nil, quote}}},
		"a quote that another row would close": {
			header + "E8,A,B,a@example.com,,,2026-01-05,GB,\"GBP\n" + line + "E9,A,B,b@example.com,,,2026-01-05,GB,GBP\"\n" + line,
			[]row{{2, nil, quote}, {3, ada, ""}, {4, nil, quote}, {5, ada, ""}},
		},
		"a line break in a field": {
			header + "E9,\"A\nB\",x,x,x,x,x,x,x\n" + line,
			[]row{{2, nil, quote}, {3, nil, quote}, {4, ada, ""}},
		},
		"bytes that are not UTF-8": {header + line + "E9,Zo\xeb,x,x,x,x,x,x,x\n" + line, []row{{2, ada, ""}, {3, nil, "not UTF-8; save the export as UTF-8"}, {4, ada, ""}}},
		"a row without an end": {
			header + line + "E9,\"" + strings.Repeat("x", 10<<20) + "\n" + line,
			[]row{{2, ada, ""}, {3, nil, "longer than 64 KiB"}, {4, ada, ""}},
		},
		"a NUL is for the service to refuse": {
			"email,given_name,family_name,employee_number,hire_date,country,currency\na@example.com,A\x00,B,E2,2026-01-05,DE,EUR\n",
			[]row{{2, &employeev1.Employee{
				EmployeeNumber: "E2", GivenName: "A\x00", FamilyName: "B", Email: "a@example.com", HireDate: "2026-01-05", Country: "DE", Currency: "EUR",
			}, ""}},
		},
		"no rows": {header, nil},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := people.ReadCSV(strings.NewReader(test.in))
			if err != nil {
				t.Fatal(err)
			}
			var got []row
			for r := range rows {
				text := ""
				if r.Err != nil {
					text = r.Err.Error()
				}
				got = append(got, row{r.Line, r.Employee, text})
			}
			if diff := cmp.Diff(test.want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadCSVRefusesHeaders(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"empty file":     {"", "there is no header row"},
		"empty lines":    {"\n\r\n", "there is no header row"},
		"binary file":    {"\xff\xfee\x00m\x00", "header row: not UTF-8"},
		"open quote":     {"\"email,given_name\n", "header row: a quote is not closed"},
		"no line ends":   {strings.Repeat("x", 1<<20), "header row: longer than 64 KiB"},
		"unknown column": {"employee_number,salary\n", `column 2: "salary" is not known`},
		"doubled column": {"email,email\n", `column 2: "email" stands twice`},
		"missing column": {"employee_number,given_name,family_name,hire_date,country,currency\n", `column "email" is missing`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := people.ReadCSV(strings.NewReader(test.in))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestSamplesAreUnique(t *testing.T) {
	export, err := os.ReadFile("../../testdata/employees.csv")
	if err != nil {
		t.Fatal(err)
	}
	samples, err := people.Samples(export, 450)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range samples {
		if seen[e.GetEmail()] || seen[e.GetEmployeeNumber()] {
			t.Fatalf("%s, %s stands twice", e.GetEmployeeNumber(), e.GetEmail())
		}
		seen[e.GetEmail()], seen[e.GetEmployeeNumber()] = true, true
	}
}

// Whatever a file holds, each line that is not empty is a row, good or bad: none is lost.
func FuzzReadCSV(f *testing.F) {
	f.Add("E1,Ada,King,a@example.com,,,2026-01-05,GB,GBP\n")
	f.Add("E1,\"Ada\r\rE2,\xeb\n")
	f.Fuzz(func(t *testing.T, in string) {
		rows, err := people.ReadCSV(strings.NewReader(header + in))
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for row := range rows {
			if (row.Err == nil) != (row.Employee != nil) || row.Line < 2 {
				t.Errorf("row %+v", row)
			}
			got++
		}
		want := len(strings.FieldsFunc(in, func(r rune) bool { return r == '\r' || r == '\n' }))
		if got != want {
			t.Errorf("%d rows from %d lines", got, want)
		}
	})
}
