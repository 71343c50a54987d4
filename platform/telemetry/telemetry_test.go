package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"hirewire.dev/platform/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSecretsAndPersonalDataPrintAsStars(t *testing.T) {
	const value = "hunter2"
	type record struct {
		Key   telemetry.Secret
		Name  telemetry.PII
		Ptr   *telemetry.Secret
		Names []telemetry.PII
		Map   map[string]telemetry.Secret
		Any   any
	}
	s := telemetry.Secret(value)
	r := record{s, value, &s, []telemetry.PII{value}, map[string]telemetry.Secret{"key": value}, telemetry.PII(value)}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%-20s", "%t", "%T %[1]v"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", &s)
		fmt.Fprintf(&out, verb+"\n", telemetry.PII(value))
		fmt.Fprintf(&out, verb+"\n", r)
	}
	fmt.Fprintln(&out, s, s.String(), s.GoString(), telemetry.PII(value).String(), telemetry.PII(value).GoString())
	fmt.Fprintln(&out, fmt.Errorf("sign in as %s with %v: %w", telemetry.PII(value), s, errors.New("no")))
	if err := json.NewEncoder(&out).Encode(r); err != nil {
		t.Fatal(err)
	}
	type element struct {
		Key  telemetry.Secret
		Name telemetry.PII `xml:",attr"`
	}
	if err := xml.NewEncoder(&out).Encode(element{value, value}); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"json", "text"} {
		log, err := telemetry.NewLogger(&out, telemetry.LogConfig{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		log.With("with", s).WithGroup("g").Info("m", "key", s, "name", telemetry.PII(value), "record", r, "list", r.Names, slog.Group("h", "key", &s))
	}
	for _, leak := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value), "104 117"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q is in\n%s", leak, out.String())
		}
	}
	if s.Reveal() != value || telemetry.PII(value).Reveal() != value {
		t.Error("Reveal does not reveal")
	}
}

func TestLogLinesCannotBeForged(t *testing.T) {
	const hostile = "a\r\nlevel=ERROR\x1b[31m\x00\x7f\u0085\u009b31m\u202eevil\u2066\u2028 \xff end Zoë 李"
	for _, format := range []string{"", "json", "text", "TEXT"} {
		var out bytes.Buffer
		log, err := telemetry.NewLogger(&out, telemetry.LogConfig{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		log.Info(hostile, hostile, hostile, "err", errors.New(hostile), "any", []string{hostile})
		line := strings.TrimSuffix(out.String(), "\n")
		for _, r := range line {
			if r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u2066' || r == '\u2028' {
				t.Errorf("%s: %U is in %q", format, r, line)
			}
		}
		if !strings.Contains(line, "Zoë 李") {
			t.Errorf("%s: letters are gone from %q", format, line)
		}
		if format == "json" {
			var back map[string]any
			if err := json.Unmarshal([]byte(line), &back); err != nil {
				t.Fatal(err)
			}
			if want := strings.ToValidUTF8(hostile, "\ufffd"); back["msg"] != want {
				t.Errorf("message %q, want %q", back["msg"], want)
			}
		}
	}
}

func TestLogLevelFormatAndTime(t *testing.T) {
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, telemetry.LogConfig{Level: "warn"})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("no")
	log.Warn("yes")
	if s := out.String(); strings.Contains(s, `"no"`) || !strings.Contains(s, `"yes"`) || !strings.Contains(s, `Z","level"`) {
		t.Error(s)
	}
	for _, cfg := range []telemetry.LogConfig{{Level: "loud"}, {Format: "xml"}} {
		if _, err := telemetry.NewLogger(&out, cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

// blocked is an output that nobody reads, until it is released.
type blocked struct {
	release chan struct{}
	bytes.Buffer
}

func (b *blocked) Write(p []byte) (int, error) {
	<-b.release
	return b.Buffer.Write(p)
}

func TestBlockedOutputDoesNotStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &blocked{release: make(chan struct{})}
		before := droppedLines(t)
		sink := telemetry.NewSink(out)
		line := []byte(strings.Repeat("x", 1023) + "\n")
		started := time.Now()
		const lines = 5000
		for range lines {
			if n, err := sink.Write(line); n != len(line) || err != nil {
				t.Fatal(n, err)
			}
		}
		if d := time.Since(started); d != 0 {
			t.Errorf("writing took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := sink.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close of a blocked sink: %v", err)
		}
		close(out.release)
		if err := sink.Close(t.Context()); err != nil {
			t.Error(err)
		}
		written := bytes.Count(out.Bytes(), []byte("\n"))
		if dropped := droppedLines(t) - before; dropped == 0 || written == 0 || written+dropped != lines {
			t.Errorf("%d written, %d dropped, want %d together", written, dropped, lines)
		}
		if out.Len()%len(line) != 0 {
			t.Error("a line was cut")
		}
		_, _ = sink.Write(line)
		if n := droppedLines(t) - before; n != lines-written+1 {
			t.Errorf("%d dropped after close", n)
		}
	})
}

// droppedLines is what the metric says.
func droppedLines(t *testing.T) int {
	t.Helper()
	families, err := telemetry.NewRegistry("test").Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "hirewire_log_dropped_total" {
			return int(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	t.Fatal("no hirewire_log_dropped_total")
	return 0
}

func TestSinkWritesAllInOrder(t *testing.T) {
	r, w := io.Pipe()
	sink := telemetry.NewSink(w)
	got := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(r)
		got <- string(b)
	}()
	var want strings.Builder
	for i := range 1000 {
		line := fmt.Sprintln("line", i)
		want.WriteString(line)
		_, _ = sink.Write([]byte(line))
	}
	if err := sink.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if s := <-got; s != want.String() {
		t.Errorf("%d bytes, want %d in order", len(s), want.Len())
	}
}

func TestStart(t *testing.T) {
	clean(t)
	var out bytes.Buffer
	log, end, err := telemetry.Start(t.Context(), "notifier", telemetry.LogConfig{}, &out)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hello")
	end(t.Context())
	if s := out.String(); !strings.Contains(s, `"msg":"hello","service":"notifier"`) {
		t.Error(s)
	}
	if _, _, err := telemetry.Start(t.Context(), "notifier", telemetry.LogConfig{Level: "x"}, &out); err == nil {
		t.Error("a bad level was accepted")
	}
	t.Setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
	if _, _, err := telemetry.Start(t.Context(), "notifier", telemetry.LogConfig{}, &out); err == nil {
		t.Error("a bad exporter was accepted")
	}
}

func TestRegistry(t *testing.T) {
	registry := telemetry.NewRegistry("notifier")
	ours := []string{"hirewire_build_info", "hirewire_log_dropped_total"}
	if n, err := testutil.GatherAndCount(registry, append(ours, "go_goroutines", "process_open_fds")...); err != nil || n < 3 {
		t.Errorf("%d metrics: %v", n, err)
	}
	if problems, err := testutil.GatherAndLint(registry, ours...); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// clean removes what the environment of the test run says of OpenTelemetry.
func clean(t *testing.T) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
}

func TestTracingIsOffWithoutItsEnvironment(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"nothing":  {},
		"none":     {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		"disabled": {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			for k, v := range env {
				t.Setenv(k, v)
			}
			before := goleak.IgnoreCurrent()
			tp, end, err := telemetry.StartTracing(t.Context(), "x", slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := tp.(noop.TracerProvider); !ok {
				t.Errorf("a %T", tp)
			}
			goleak.VerifyNone(t, before)
			if err := end(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTracingExports(t *testing.T) {
	clean(t)
	var requests atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/traces" {
			requests.Add(1)
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tp, end, err := telemetry.StartTracing(t.Context(), "notifier", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer otel.SetTracerProvider(noop.NewTracerProvider())
	ctx, span := tp.Tracer("test").Start(t.Context(), "publish")
	if s := telemetry.Traceparent(t.Context()); s != "" {
		t.Errorf("without a trace: %q", s)
	}
	parent := telemetry.Traceparent(ctx)
	if want := fmt.Sprintf("00-%s-%s-01", span.SpanContext().TraceID(), span.SpanContext().SpanID()); parent != want {
		t.Errorf("traceparent %q, want %q", parent, want)
	}
	span.End()
	if err := end(t.Context()); err != nil {
		t.Error(err)
	}
	if requests.Load() == 0 {
		t.Error("nothing was exported")
	}
}

func TestTracingRefusesABadEnvironment(t *testing.T) {
	for name, value := range map[string]string{"OTEL_TRACES_EXPORTER": "carrier-pigeon", "OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"} {
		clean(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
		t.Setenv(name, value)
		if _, _, err := telemetry.StartTracing(t.Context(), "x", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}

func BenchmarkLogger(b *testing.B) {
	sink := telemetry.NewSink(io.Discard)
	defer func() { _ = sink.Close(context.Background()) }()
	log, err := telemetry.NewLogger(sink, telemetry.LogConfig{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		log.Info("delivery.attempted", "event_id", "evt_01J8ZQ4T6Y9GZ1K3V5X7A9B2C4", "attempt", 1, "outcome", "delivered")
	}
}
