package schema_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/protobuf/types/known/structpb"

	"hirewire.dev/notifier/internal/schema"
)

const whole = `{"employee":{"id":"emp_01J8","employee_number":"E-1","given_name":"Zoë","family_name":"李","email":"zoe@example.test",
"job_title":"","department":"R&D","hire_date":"2026-11-20","country":"DE","currency":"EUR","status":"ACTIVE","version":1,
"created_at":"2026-11-20T09:00:00.123456Z","updated_at":"2026-11-20T09:00:00Z"}}`

func parse(tb testing.TB, text string) *structpb.Struct {
	tb.Helper()
	var s structpb.Struct
	if err := s.UnmarshalJSON([]byte(text)); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return &s
}

func TestTypes(t *testing.T) {
	t.Parallel()
	var names []string
	for _, typ := range schema.Types() {
		names = append(names, typ.Name)
		if typ.Version != 1 || typ.Description == "" || !json.Valid(typ.JSON) {
			t.Errorf("%+v", typ)
		}
	}
	if diff := cmp.Diff([]string{"employee.created", "employee.terminated", "employee.updated"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]error{
		"employee.created":              nil,
		"employee":                      schema.ErrMalformed,
		"":                              schema.ErrMalformed,
		"employee..created":             schema.ErrMalformed,
		".employee.created":             schema.ErrMalformed,
		"employee.created.":             schema.ErrMalformed,
		"employee.created ":             schema.ErrMalformed,
		" employee.created":             schema.ErrMalformed,
		"employee-created!":             schema.ErrMalformed,
		"employee.created\n":            schema.ErrMalformed,
		"mitarbeiter.früh":              schema.ErrMalformed,
		"employee.*":                    schema.ErrMalformed,
		"a." + strings.Repeat("b", 127): schema.ErrMalformed,
		"notifier.started":              schema.ErrReserved,
		"webhook.test":                  schema.ErrReserved,
		"subscription.failing":          schema.ErrReserved,
		"employee.promoted":             schema.ErrUnknown,
		"Employee.Created":              schema.ErrUnknown,
		"employee.created.v2":           schema.ErrUnknown,
	} {
		if _, err := schema.Lookup(name); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
}

func TestCheckNamesThePath(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		whole: "",
		`{"employee":{"id":"emp_1","version":1}}`: "",
		`{}`:                                                                                      "data.employee",
		`{"employee":null}`:                                                                       "data.employee",
		`{"employee":[]}`:                                                                         "data.employee",
		`{"employee":"emp_1"}`:                                                                    "data.employee",
		`{"employee":{}}`:                                                                         "data.employee.id data.employee.version",
		`{"employee":{"version":1}}`:                                                              "data.employee.id",
		`{"employee":{"id":"","version":1}}`:                                                      "data.employee.id",
		`{"employee":{"id":"a b","version":1}}`:                                                   "data.employee.id",
		`{"employee":{"id":7,"version":1}}`:                                                       "data.employee.id",
		`{"employee":{"id":"emp_1","version":0}}`:                                                 "data.employee.version",
		`{"employee":{"id":"emp_1","version":-1}}`:                                                "data.employee.version",
		`{"employee":{"id":"emp_1","version":1.5}}`:                                               "data.employee.version",
		`{"employee":{"id":"emp_1","version":1e300}}`:                                             "data.employee.version",
		`{"employee":{"id":"emp_1","version":"1"}}`:                                               "data.employee.version",
		`{"employee":{"id":"emp_1","version":1,"ssn":"1"}}`:                                       "data.employee.ssn",
		`{"employee":{"id":"emp_1","version":1,"iban":"1"}}`:                                      "data.employee.iban",
		`{"employee":{"id":"emp_1","version":1},"extra":1}`:                                       "data.extra",
		`{"employee":{"id":"emp_1","version":1},"a\n.b":1}`:                                       `data."a\n.b"`,
		`{"employee":{"id":"emp_1","version":1,"country":"de"}}`:                                  "data.employee.country",
		`{"employee":{"id":"emp_1","version":1,"country":"DEU"}}`:                                 "data.employee.country",
		`{"employee":{"id":"emp_1","version":1,"hire_date":"2024-02-30"}}`:                        "data.employee.hire_date",
		`{"employee":{"id":"emp_1","version":1,"created_at":"2026-11-20t09:00:00z"}}`:             "data.employee.created_at",
		`{"employee":{"id":"emp_1","version":1,"created_at":"2026-12-31T23:59:60Z"}}`:             "data.employee.created_at",
		`{"employee":{"id":"emp_1","version":1,"status":"TERMINATED"}}`:                           "data.employee.status",
		"{\"employee\":{\"id\":\"emp_1\",\"version\":1,\"given_name\":\"Zo\\u0000\"}}":            "data.employee.given_name",
		"{\"employee\":{\"id\":\"emp_1\",\"version\":1,\"job_title\":\"\\u001b[31m\"}}":           "data.employee.job_title",
		"{\"employee\":{\"id\":\"emp_1\",\"version\":1,\"family_name\":\"O’Neil\\u2028\"}}":       "",
		"{\"employee\":{\"id\":\"emp_1\",\"version\":1,\"family_name\":\"می\\u200cخواهم\"}}":      "",
		`{"employee":{"id":"emp_1","version":1,"given_name":""}}`:                                 "data.employee.given_name",
		`{"employee":{"id":"emp_1","version":1,"given_name":"` + strings.Repeat("é", 255) + `"}}`: "",
		`{"employee":{"id":"emp_1","version":1,"given_name":"` + strings.Repeat("é", 256) + `"}}`: "data.employee.given_name",
	} {
		created, err := schema.Lookup("employee.created")
		if err != nil {
			t.Fatal(err)
		}
		var paths []string
		for _, v := range created.Check(parse(t, data)) {
			paths = append(paths, v.Path)
			if strings.Contains(v.Reason, "2024") || v.Reason == "" {
				t.Errorf("%s: reason %q", data, v.Reason)
			}
		}
		if got := strings.Join(paths, " "); got != want {
			t.Errorf("%s: %q, want %q", data, got, want)
		}
	}
}

func TestCheckBoundsWhatItSays(t *testing.T) {
	t.Parallel()
	created, _ := schema.Lookup("employee.created")
	many := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for i := range 1000 {
		many.Fields[strings.Repeat("x", i)] = structpb.NewNullValue()
	}
	found := created.Check(many)
	if len(found) != 20 {
		t.Errorf("%d violations", len(found))
	}
	for _, v := range found {
		if len(v.Path) > 100 {
			t.Errorf("a path of %d bytes", len(v.Path))
		}
	}
	if len(created.Check(nil)) != 1 {
		t.Error("no data: no violation")
	}
	nan := parse(t, `{"employee":{"id":"emp_1"}}`)
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		nan.Fields["employee"].GetStructValue().Fields["version"] = structpb.NewNumberValue(v)
		if len(created.Check(nan)) != 1 {
			t.Errorf("%v passed", v)
		}
	}
}

// FuzzCheck holds the check against a general validator of JSON Schema.
func FuzzCheck(f *testing.F) {
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	judges := map[string]*jsonschema.Schema{}
	for _, typ := range schema.Types() {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(typ.JSON))
		if err != nil {
			f.Fatal(err)
		}
		if err := compiler.AddResource(typ.Name+".json", doc); err != nil {
			f.Fatal(err)
		}
		judges[typ.Name] = compiler.MustCompile(typ.Name + ".json")
	}
	for _, seed := range []string{whole, `{"employee":{"id":"emp_1","version":1}}`, `{"employee":{"id":"a b","version":0.5,"x":null}}`, `{"employee":{"hire_date":"2026-02-30"}}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var data structpb.Struct
		if data.UnmarshalJSON([]byte(text)) != nil {
			return
		}
		if strings.Contains(text, ":60") {
			return // the judge takes leap seconds, and we do not
		}
		for _, typ := range schema.Types() {
			judged, found := judges[typ.Name].Validate(data.AsMap()), typ.Check(&data)
			if strings.Contains(fmt.Sprint(found), "control characters") {
				continue // the judge takes it
			}
			if (judged == nil) != (len(found) == 0) {
				t.Fatalf("%s of %s: %v, the judge says %v", text, typ.Name, found, judged)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	created, _ := schema.Lookup("employee.created")
	data := parse(b, whole)
	b.ReportAllocs()
	for b.Loop() {
		if found := created.Check(data); found != nil {
			b.Fatal(found)
		}
	}
}
