package employee

import (
	"crypto/sha256"
	"encoding/binary"
)

// field is one of the fields that HR sets.
type field struct {
	name  string // in the API
	of    func(*Employee) *string
	clean func(string) (clean, reason string)
}

// fields are the fields that HR sets; the others are the service's own.
var fields = []field{
	{"employee_number", func(e *Employee) *string { return &e.Number }, cleanNumber},
	{"given_name", func(e *Employee) *string { return &e.GivenName }, required(cleanText)},
	{"family_name", func(e *Employee) *string { return &e.FamilyName }, required(cleanText)},
	{"email", func(e *Employee) *string { return &e.Email }, cleanEmail},
	{"job_title", func(e *Employee) *string { return &e.JobTitle }, cleanText},
	{"department", func(e *Employee) *string { return &e.Department }, cleanText},
	{"hire_date", func(e *Employee) *string { return &e.HireDate }, cleanDate},
	{"country", func(e *Employee) *string { return &e.Country }, cleanCountry},
	{"currency", func(e *Employee) *string { return &e.Currency }, cleanCurrency},
}

// ownFields are set by the service.
var ownFields = map[string]bool{"id": true, "status": true, "version": true, "created_at": true, "updated_at": true}

// Clean is e as it is stored: texts in Unicode normalisation form C, without white space around names, titles and
// departments. The error is InvalidErrors with every rule that e breaks.
func (e Employee) Clean() (Employee, error) {
	var broken InvalidErrors
	for i := range fields {
		f := &fields[i]
		p := f.of(&e)
		clean, reason := f.clean(*p)
		if reason != "" {
			broken = append(broken, &InvalidError{Field: f.name, Reason: reason})
			continue
		}
		*p = clean
	}
	if broken != nil {
		return Employee{}, broken
	}
	return e, nil
}

// Patch is new content for some fields.
type Patch struct {
	from   Employee
	fields []*field
}

// NewPatch takes the named fields from an employee and cleans them. Names of the service's own fields change nothing
// (AIP-203); "*" names all that HR sets. The error is InvalidErrors; a name that is no field is one on update_mask.
func NewPatch(from Employee, names []string) (Patch, error) {
	named := make([]bool, len(fields))
	for _, name := range names {
		known := ownFields[name]
		for i := range fields {
			if name == fields[i].name || name == "*" {
				named[i], known = true, true
			}
		}
		if !known {
			return Patch{}, InvalidErrors{{Field: "update_mask", Reason: "names a path that is no field of an employee"}}
		}
	}
	p := Patch{from: from}
	var broken InvalidErrors
	for i, f := range fields {
		if !named[i] {
			continue
		}
		content := f.of(&p.from)
		clean, reason := f.clean(*content)
		if reason != "" {
			broken = append(broken, &InvalidError{Field: f.name, Reason: reason})
		}
		*content = clean
		p.fields = append(p.fields, &fields[i])
	}
	if broken != nil {
		return Patch{}, broken
	}
	return p, nil
}

// Apply is e with the new content. What was clean stays so: every rule is about one field.
func (p Patch) Apply(e Employee) Employee {
	for _, f := range p.fields {
		*f.of(&e) = *f.of(&p.from)
	}
	return e
}

// SetFields names the fields of e that are not empty.
func (e Employee) SetFields() []string {
	var names []string
	for i := range fields {
		if *fields[i].of(&e) != "" {
			names = append(names, fields[i].name)
		}
	}
	return names
}

// Terminate is e with its employment ended; the same when it already was.
func (e Employee) Terminate() Employee {
	e.Status = Terminated
	return e
}

// Sum is the SHA-256 of what HR set: equal for equal creates. e must be clean.
func (e Employee) Sum() [sha256.Size]byte {
	buf := make([]byte, 0, 512)
	for i := range fields {
		v := *fields[i].of(&e)
		buf = binary.AppendUvarint(buf, uint64(len(v)))
		buf = append(buf, v...)
	}
	return sha256.Sum256(buf)
}
