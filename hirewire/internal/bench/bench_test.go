package bench_test

import (
	"os"
	"strings"
	"testing"

	"hirewire.dev/hirewire/internal/bench"
)

func TestAFailureToStartIsAnErrorThatNamesWhatWasDone(t *testing.T) {
	for part, doing := range map[string]string{
		"notify": "warming up", "chain": "chain, ", "fanout": "fan-out", "history": "history: ", "outage": "outage: ",
	} {
		t.Run(part, func(t *testing.T) {
			folder := t.TempDir()
			t.Setenv("TMPDIR", folder)
			_, err := bench.Run(t.Context(), bench.Options{
				Only: []string{part}, DatabaseURL: "postgres://nobody@127.0.0.1:1/none?sslmode=disable", Runs: 1, Clients: 1, Subscriptions: 1,
				Progress: func(string, ...any) {},
			})
			if err == nil || !strings.HasPrefix(err.Error(), doing) || !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("error %v, want %q and what failed", err, doing)
			}
			if left, _ := os.ReadDir(folder); len(left) > 0 {
				t.Errorf("%s is left behind", left[0].Name())
			}
		})
	}
}

func TestUnknownPartsAreRefused(t *testing.T) {
	err := bench.CheckParts([]string{"raw", "speed"})
	if want := `part "speed" is not known; there are raw, notify, held, paced, chain, fanout, history, outage`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// A handful of events ends as well, warm-up and all.
func TestSmallRun(t *testing.T) {
	report, err := bench.Run(t.Context(), bench.Options{
		Only: []string{"notify", "held"}, Runs: 1, Clients: 1, Events: 1, Progress: func(string, ...any) {},
	})
	if err != nil || report.Notify["3"].PerSecond == 0 || !report.Good() {
		t.Errorf("error %v, report %+v", err, report)
	}
}

func TestReportIsGoodWhenNothingWasLostOrDoubled(t *testing.T) {
	for name, test := range map[string]struct {
		report bench.Report
		want   bool
	}{
		"nothing measured": {bench.Report{}, true},
		"all well": {bench.Report{
			Notify: map[string]*bench.Notify{"1": {}}, Held: &bench.Notify{}, Chain: map[string]*bench.Chain{"1": {}}, Outage: &bench.Outage{},
		}, true},
		"notify":  {bench.Report{Notify: map[string]*bench.Notify{"1": {}, "3": {Lost: 1}}}, false},
		"held":    {bench.Report{Held: &bench.Notify{Duplicates: 1}}, false},
		"paced":   {bench.Report{Paced: map[string]*bench.Notify{"100": {Lost: 1}}}, false},
		"chain":   {bench.Report{Chain: map[string]*bench.Chain{"1": {Duplicates: 1}}}, false},
		"batches": {bench.Report{Batches: map[string]*bench.Chain{"3": {Lost: 1}}}, false},
		"fanout":  {bench.Report{Fanout: &bench.Fanout{Lost: 1}}, false},
		"history": {bench.Report{History: &bench.History{Duplicates: 1}}, false},
		"outage":  {bench.Report{Outage: &bench.Outage{Lost: 1}}, false},
	} {
		if got := test.report.Good(); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
