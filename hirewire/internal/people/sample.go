package people

import (
	"bytes"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	employeev1 "hirewire.dev/proto/employee/v1"
)

// Samples returns n employees: those of the export that comes along, and from the second round on with numbers and
// addresses of their own.
func Samples(export []byte, n int) ([]*employeev1.Employee, error) {
	rows, err := ReadCSV(bytes.NewReader(export))
	if err != nil {
		return nil, err
	}
	var base []*employeev1.Employee
	for row := range rows {
		if row.Err != nil {
			return nil, fmt.Errorf("line %d: %w", row.Line, row.Err)
		}
		base = append(base, row.Employee)
	}
	samples := make([]*employeev1.Employee, n)
	for i := range samples {
		e := proto.CloneOf(base[i%len(base)])
		if round := i / len(base); round > 0 {
			e.EmployeeNumber = fmt.Sprintf("%s-%d", e.EmployeeNumber, round)
			e.Email = strings.Replace(e.Email, "@", fmt.Sprintf("+%d@", round), 1)
		}
		samples[i] = e
	}
	return samples, nil
}
