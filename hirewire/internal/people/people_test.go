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
		"a bad row does not stop the others": {
			header + "E0,too,short\n" + line + "E9,\"un\"quoted,x,x,x,x,x,x,x\n" + line,
			[]row{{2, nil, "3 fields where the header has 9"}, {3, ada, ""}, {4, nil, `extraneous or missing " in quoted-field`}, {5, ada, ""}},
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
		"empty file":     {"", "read the header row: EOF"},
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

func FuzzReadCSV(f *testing.F) {
	f.Add(header + "E1,Ada,King,a@example.com,,,2026-01-05,GB,GBP\n")
	f.Fuzz(func(_ *testing.T, in string) {
		rows, err := people.ReadCSV(strings.NewReader(in))
		if err != nil {
			return
		}
		for range rows {
		}
	})
}
