package verdict_test

import (
	"strings"
	"testing"

	"hirewire.dev/hirewire/internal/verdict"
)

func TestPrintSaysNoMoreThanIsKnown(t *testing.T) {
	const every = "\n  Every employee has exactly one account in every bank.\n"
	for name, test := range map[string]struct {
		verdict verdict.Verdict
		says    []string
		not     []string
	}{
		"all well": {
			verdict.Verdict{Employees: 2, Banks: 1, Accounts: 2, P50: 3, P99: 4}, []string{every, "p50 3.0 ms, p99 4.0 ms"}, []string{"refused"},
		},
		"some were refused": {verdict.Verdict{Employees: 2, Accounts: 2, Refused: 3}, []string{every, "  refused            3\n"}, nil},
		"nobody":            {verdict.Verdict{Banks: 3, Refused: 1}, []string{"There is no employee.", "refused"}, []string{every, "p50"}},
		"lost":              {verdict.Verdict{Employees: 2, Accounts: 1, Lost: 1}, []string{"NOT every employee"}, []string{every}},
		"all lost":          {verdict.Verdict{Employees: 2, Lost: 2}, []string{"NOT every employee"}, []string{every, "p50"}},
		"doubled":           {verdict.Verdict{Accounts: 1, Duplicates: 1}, []string{"NOT every employee"}, []string{every}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			test.verdict.Print(&out)
			for _, want := range test.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing:%s", want, out.String())
				}
			}
			for _, wrong := range test.not {
				if strings.Contains(out.String(), wrong) {
					t.Errorf("%q is there:%s", wrong, out.String())
				}
			}
		})
	}
}
