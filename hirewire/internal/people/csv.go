// Package people reads employees from an HR export, and makes sample ones up.
package people

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode/utf8"

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

// ReadCSV reads an export: UTF-8 with or without a byte order mark, commas or semicolons, a header row with the names of the
// columns in any order, and the quotes of RFC 4180. A row is a line: nothing in an employee may hold a line break, and so a
// quote that is not closed spoils its own line and no other. ReadCSV fails for a header that is not understood; a row that is
// not is yielded with its error, and reading goes on.
func ReadCSV(r io.Reader) (iter.Seq[Row], error) {
	lines := &lines{in: bufio.NewReader(r)}
	if bom, err := lines.in.Peek(3); err == nil && string(bom) == "\ufeff" {
		_, _ = lines.in.Discard(3)
	}
	if err := lines.next(); errors.Is(err, io.EOF) {
		return nil, errors.New("there is no header row")
	} else if err != nil {
		return nil, err
	}
	comma := delimiter(lines.text)
	names, err := fields(lines.text, comma)
	if err != nil {
		return nil, fmt.Errorf("header row: %w", err)
	}
	if err := checkHeader(names); err != nil {
		return nil, err
	}
	return func(yield func(Row) bool) {
		for {
			err := lines.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil { // the file's, not the row's: it has no line
				yield(Row{Err: err})
				return
			}
			row := Row{Line: lines.number}
			if record, err := fields(lines.text, comma); err != nil {
				row.Err = err
			} else {
				row.Employee, row.Err = newEmployee(names, record)
			}
			if !yield(row) {
				return
			}
		}
	}, nil
}

// lines reads a file by its lines, which end with LF, CRLF or CR.
type lines struct {
	in     *bufio.Reader
	number int
	text   []byte
}

// next goes on to the next line that is not empty. Of one that is too long for a row it keeps no more than shows that.
func (l *lines) next() error {
	l.text = l.text[:0]
	for l.number++; ; {
		c, err := l.in.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && len(l.text) > 0:
			return nil
		case err != nil:
			return err
		case c != '\r' && c != '\n':
			if len(l.text) <= maxRowBytes {
				l.text = append(l.text, c)
			}
			continue
		}
		if after, _ := l.in.Peek(1); c == '\r' && string(after) == "\n" {
			_, _ = l.in.Discard(1)
		}
		if len(l.text) > 0 {
			return nil
		}
		l.number++
	}
}

// fields takes a line apart.
func fields(line []byte, comma rune) ([]string, error) {
	if len(line) > maxRowBytes {
		return nil, fmt.Errorf("longer than %d KiB", maxRowBytes>>10)
	}
	if !utf8.Valid(line) {
		return nil, errors.New("not UTF-8; save the export as UTF-8")
	}
	reader := csv.NewReader(bytes.NewReader(line))
	reader.Comma = comma
	record, err := reader.Read()
	if err != nil { // there is nothing else that it refuses in a line
		return nil, errors.New("a quote is not closed, or stands where it may not")
	}
	return record, nil
}

// delimiter looks at the header: spreadsheets write semicolons where the comma is the decimal mark.
func delimiter(header []byte) rune {
	if bytes.Count(header, []byte(";")) > bytes.Count(header, []byte(",")) {
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

func newEmployee(names, record []string) (*employeev1.Employee, error) {
	if len(record) != len(names) {
		return nil, fmt.Errorf("%d fields where the header has %d", len(record), len(names))
	}
	e := &employeev1.Employee{}
	fields := map[string]*string{
		"employee_number": &e.EmployeeNumber, "given_name": &e.GivenName, "family_name": &e.FamilyName, "email": &e.Email,
		"job_title": &e.JobTitle, "department": &e.Department, "hire_date": &e.HireDate, "country": &e.Country, "currency": &e.Currency,
	}
	for i, name := range names {
		*fields[name] = strings.TrimSpace(record[i])
	}
	return e, nil
}
