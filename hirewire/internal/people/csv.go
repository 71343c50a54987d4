// Package people reads employees from an HR export, and makes sample ones up.
package people

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	employeev1 "hirewire.dev/proto/employee/v1"
)

// A Row is one line of the export: an employee, or why there is none.
type Row struct {
	// Line is where the row begins in the file, from 1 for the header.
	Line     int
	Employee *employeev1.Employee
	Err      error
}

// columns is what an export may hold, in any order. The value says whether it must.
var columns = map[string]bool{
	"employee_number": true,
	"given_name":      true,
	"family_name":     true,
	"email":           true,
	"job_title":       false,
	"department":      false,
	"hire_date":       true,
	"country":         true,
	"currency":        true,
}

// maxRowBytes bounds a row, so that a file that is no CSV is not read into memory whole.
const maxRowBytes = 64 << 10

// ReadCSV reads an export: UTF-8 with or without a byte order mark, RFC 4180, commas or semicolons, a header row with the
// names of the columns in any order. It fails for a header that is not understood; a row that is not is yielded with its
// error, and reading goes on.
func ReadCSV(r io.Reader) (iter.Seq[Row], error) {
	buffered := bufio.NewReaderSize(r, maxRowBytes)
	if bom, err := buffered.Peek(3); err == nil && string(bom) == "\ufeff" {
		_, _ = buffered.Discard(3)
	}
	reader := csv.NewReader(buffered)
	reader.Comma = delimiter(buffered)
	reader.ReuseRecord = true
	reader.FieldsPerRecord = -1
	header, err := reader.Read()
	if err != nil {
		return nil, fmt.Errorf("read the header row: %w", err)
	}
	names := slices.Clone(header)
	if err := checkHeader(names); err != nil {
		return nil, err
	}
	return func(yield func(Row) bool) {
		for {
			record, err := reader.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			row := Row{Err: err}
			if parse, ok := errors.AsType[*csv.ParseError](err); ok {
				row.Line, row.Err = parse.StartLine, parse.Err
			} else if err == nil {
				row = newRow(names, record)
				row.Line, _ = reader.FieldPos(0)
			}
			if !yield(row) || (err != nil && row.Line == 0) { // an error without a line is the file's, not the row's
				return
			}
		}
	}, nil
}

// delimiter looks at the header: spreadsheets write semicolons where the comma is the decimal mark.
func delimiter(r *bufio.Reader) rune {
	start, _ := r.Peek(4096)
	line, _, _ := strings.Cut(string(start), "\n")
	if strings.Count(line, ";") > strings.Count(line, ",") {
		return ';'
	}
	return ','
}

func checkHeader(names []string) error {
	seen := map[string]bool{}
	for i, name := range names {
		name = strings.ToLower(strings.TrimSpace(name))
		names[i] = name
		if _, known := columns[name]; !known {
			return fmt.Errorf("column %d: %q is not known; the columns are %s", i+1, name, strings.Join(Columns(), ", "))
		}
		if seen[name] {
			return fmt.Errorf("column %d: %q stands twice", i+1, name)
		}
		seen[name] = true
	}
	for _, name := range Columns() {
		if columns[name] && !seen[name] {
			return fmt.Errorf("column %q is missing", name)
		}
	}
	return nil
}

// Columns lists the columns of an export in their usual order.
func Columns() []string {
	return []string{"employee_number", "given_name", "family_name", "email", "job_title", "department", "hire_date", "country", "currency"}
}

func newRow(names, record []string) Row {
	if len(record) != len(names) {
		return Row{Err: fmt.Errorf("%d fields where the header has %d", len(record), len(names))}
	}
	e := &employeev1.Employee{}
	fields := map[string]*string{
		"employee_number": &e.EmployeeNumber, "given_name": &e.GivenName, "family_name": &e.FamilyName, "email": &e.Email,
		"job_title": &e.JobTitle, "department": &e.Department, "hire_date": &e.HireDate, "country": &e.Country, "currency": &e.Currency,
	}
	for i, name := range names {
		*fields[name] = strings.TrimSpace(strings.Clone(record[i]))
	}
	return Row{Employee: e}
}
