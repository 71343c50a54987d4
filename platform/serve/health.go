package serve

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// How often readiness is checked, and how long a check may take: together below the 2 s within which readiness must turn.
const (
	CheckInterval = 500 * time.Millisecond
	CheckTimeout  = time.Second
)

// Health is a service's readiness: started, not stopping, and every check passing. Liveness is that it answers at all.
type Health struct {
	log *slog.Logger

	mu       sync.Mutex
	checks   []*check
	up       bool
	draining bool
	ready    bool
	watchers []func(ready bool)
}

type check struct {
	name    string
	probe   func(context.Context) error
	failing bool // until the first pass
}

// NewHealth makes a Health without checks; a Group runs it. log nil is slog.Default().
func NewHealth(log *slog.Logger) *Health {
	if log == nil {
		log = slog.Default()
	}
	return &Health{log: log}
}

// Add adds a check, before Run. probe returns nil when the dependency works; one that takes longer than CheckTimeout has
// failed. Its error goes to the log, and never to whoever asks for readiness, who sees the name.
func (h *Health) Add(name string, probe func(ctx context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, &check{name: name, probe: probe, failing: true})
}

// Ready reports readiness, and the names of what is missing when it is false.
func (h *Health) Ready() (ok bool, failing []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.readyLocked()
}

func (h *Health) readyLocked() (bool, []string) {
	failing := []string{}
	if !h.up {
		failing = append(failing, "starting")
	}
	if h.draining {
		failing = append(failing, "stopping")
	}
	for _, c := range h.checks {
		if c.failing {
			failing = append(failing, c.name)
		}
	}
	return len(failing) == 0, failing
}

// Watch calls f with the present readiness and then at each change, one call at a time. f must not block.
func (h *Health) Watch(f func(ready bool)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers = append(h.watchers, f)
	f(h.ready)
}

// Run checks until ctx ends.
func (h *Health) Run(ctx context.Context) error {
	h.mu.Lock()
	checks := slices.Clone(h.checks)
	h.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range checks {
		wg.Go(func() { h.follow(ctx, c) })
	}
	wg.Wait()
	<-ctx.Done()
	return nil
}

// follow probes one dependency at each interval. A probe that hangs does not hang the verdict: it has failed when its time
// is over, and the next one starts when it has returned.
func (h *Health) follow(ctx context.Context, c *check) {
	ticker := time.NewTicker(CheckInterval)
	defer ticker.Stop()
	for {
		h.probe(ctx, c)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (h *Health) probe(ctx context.Context, c *check) {
	limited, cancel := context.WithTimeout(ctx, CheckTimeout)
	defer cancel()
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = c.probe(limited)
	}()
	select {
	case <-done:
		h.set(ctx, c, err)
	case <-limited.Done():
		h.set(ctx, c, limited.Err())
		<-done
	}
}

func (h *Health) set(ctx context.Context, c *check, err error) {
	if ctx.Err() != nil {
		return // the service is stopping; that says nothing of the dependency
	}
	h.change(func() {
		if c.failing != (err != nil) {
			if c.failing = err != nil; c.failing {
				h.log.Warn("dependency failing", "check", c.name, "error", err)
			} else {
				h.log.Info("dependency works", "check", c.name)
			}
		}
	})
}

func (h *Health) started() { h.change(func() { h.up = true }) }
func (h *Health) drain()   { h.change(func() { h.draining = true }) }

// change applies f and tells the watchers when readiness turned.
func (h *Health) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	ready, _ := h.readyLocked()
	if ready == h.ready {
		return
	}
	h.ready = ready
	for _, w := range h.watchers {
		w(ready)
	}
}

// serveReady answers /readyz: 200 {"status":"ready"} or 503 {"status":"not ready","failing":["database"]}.
func (h *Health) serveReady(w http.ResponseWriter, _ *http.Request) {
	ok, failing := h.Ready()
	answer := struct {
		Status  string   `json:"status"`
		Failing []string `json:"failing,omitempty"`
	}{"ready", failing}
	code := http.StatusOK
	if !ok {
		answer.Status, code = "not ready", http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer) // the client is gone; nobody is left to tell
}

func serveAlive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{\"status\":\"alive\"}\n"))
}
